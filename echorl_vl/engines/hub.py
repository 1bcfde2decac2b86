"""Checks that the Hugging Face hub has the models and data sets of a run, before anything is loaded.

The hub's own clients retry for half a minute, and their errors name no configuration key.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import issue_at, raise_if_any
from echorl_vl.data.generated import is_generated
from echorl_vl.places import split_of_place, split_places

if TYPE_CHECKING:
    from echorl_vl.engines.base import Engine

TIME_LIMIT = 5.0
"""Seconds to wait for an answer of the hub."""

_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FILES = (".parquet", ".jsonl", ".json", ".csv", ".arrow")


def is_hub_id(place: str) -> bool:
    """Whether the path of a model or problem set is a hub id, `owner/name`, and not a file or folder."""
    if is_generated(place) or place.lower().endswith(_FILES) or not _ID.fullmatch(place):
        return False
    return not Path(place).exists() and not ("/" in place and Path(place).parent.is_dir())


def check_hub(config: Config, engine: Engine, with_size: bool = True) -> None:
    """Asks the hub for the models and data sets of a configuration that are not in the cache.

    Args:
        config: the run's configuration.
        engine: the engine, which knows the keys that a run reads.
        with_size: whether to check that the model can be trained on this machine.

    Raises:
        UserError: the hub can't be reached, or a model or data set is missing, needs access, or is too large; lists the
            key of each.
    """
    if asked := [entry for entry in _asked(config, engine) if not _is_cached(*entry[1:])]:
        raise_if_any(_faults(config, engine if with_size else None, asked))


def _asked(config: Config, engine: Engine) -> Iterator[tuple[str, str, str]]:
    """(key, "model" or "dataset", id) of each model and data set of the hub."""
    for key in engine.inputs(config):
        kind, given = ("dataset" if key.startswith("data.") else "model"), get_value(config, key) or ""
        for place in split_places(given) if kind == "dataset" else [given]:
            name = split_of_place(place)[0] if kind == "dataset" else place
            if name and is_hub_id(name):
                yield key, kind, name


def _is_cached(kind: str, name: str) -> bool:
    """Whether an earlier run has downloaded it, maybe in part; the loader reports missing files."""
    from huggingface_hub import constants

    flat = name.replace("/", "--")
    folders = [Path(constants.HF_HUB_CACHE) / f"{kind}s--{flat}" / "snapshots"]
    if kind == "dataset":
        own = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets"
        folders.append(Path(own) / name.replace("/", "___"))
    return any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def _faults(config: Config, engine: Engine | None, asked: list[tuple[str, str, str]]) -> Iterator[ConfigIssue]:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api = HfApi()
    for number, (key, kind, name) in enumerate(asked):
        ask: Callable[..., Any] = api.model_info if kind == "model" else api.dataset_info
        try:
            info = _within(TIME_LIMIT, lambda ask=ask, name=name: ask(name, timeout=TIME_LIMIT))
        except RepositoryNotFoundError:
            access = "or it is private or gated and this machine is not logged in (hf auth login)"
            yield issue_at(config, key, f"no such {kind} on the hub, {access}; and no local path of this name")
        except HfHubHTTPError:  # an unexpected answer; the loader asks again and its error says more
            continue
        except Exception as error:  # no network, no name server, no answer; the type depends on the HTTP client
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            for other in asked[number:]:
                yield issue_at(
                    config,
                    other[0],
                    "there is no file or folder of this name, the cache of the Hugging Face hub does not have it, and "
                    f"{constants.ENDPOINT} can't be reached ({why}); expected a path, or a network connection",
                )
            return
        else:
            parameters = getattr(getattr(info, "safetensors", None), "total", None)
            if engine and parameters and key == "worker.actor.model.model_path":
                yield from engine.size_issues(config, parameters)


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """Calls `ask` with a time limit: the client's own does not cover a name server that never answers.

    Raises:
        TimeoutError: `ask` took longer. What `ask` raises is raised as it is.
    """
    answer: dict[str, Any] = {}

    def run() -> None:
        try:
            answer["value"] = ask()
        except BaseException as error:
            answer["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in answer:
        raise answer["error"]
    if "value" not in answer:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return answer["value"]
