"""Models and data sets of the Hugging Face hub: asked for once, with a short time limit, before anything is loaded.

The hub's own clients try for half a minute each, and name no key of the configuration.
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
"""Seconds that the hub has for an answer."""

_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FILES = (".parquet", ".jsonl", ".json", ".csv", ".arrow")


def is_hub_id(place: str) -> bool:
    """Whether a path of a model or of problems is an id of the hub, `owner/name`: nothing of that name is here."""
    if is_generated(place) or place.lower().endswith(_FILES) or not _ID.fullmatch(place):
        return False
    return not Path(place).exists() and not ("/" in place and Path(place).parent.is_dir())


def check_hub(config: Config, engine: Engine, with_size: bool = True) -> None:
    """Asks the hub for what `engine` takes from it for `config` and the cache does not hold.

    with_size: also whether the model could be trained on this machine.

    Raises:
        UserError: names every key whose model or data set is not there, not to be had without access, or too large; or
            says that the hub can't be reached.
    """
    if asked := [entry for entry in _asked(config, engine) if not _is_cached(*entry[1:])]:
        raise_if_any(_faults(config, engine if with_size else None, asked))


def _asked(config: Config, engine: Engine) -> Iterator[tuple[str, str, str]]:
    """(key, "model" or "dataset", id) of each thing that comes from the hub."""
    for key in engine.inputs(config):
        kind, given = ("dataset" if key.startswith("data.") else "model"), get_value(config, key) or ""
        for place in split_places(given) if kind == "dataset" else [given]:
            name = split_of_place(place)[0] if kind == "dataset" else place
            if name and is_hub_id(name):
                yield key, kind, name


def _is_cached(kind: str, name: str) -> bool:
    """Whether an earlier run has loaded it: then it is the loader's to say what is missing."""
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
            yield issue_at(config, key, f"no such {kind} on the hub, {access}; nor is it a path here")
        except HfHubHTTPError:  # an answer, if a strange one: the loader asks again and says more
            continue
        except Exception as error:  # whatever HTTP client this version of the hub's has: no network, no name, no answer
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            for other in asked[number:]:
                yield issue_at(
                    config,
                    other[0],
                    "no file or folder of this name is here, the cache of the Hugging Face hub has none, and "
                    f"{constants.ENDPOINT} can't be reached ({why}); expected a path, or a network",
                )
            return
        else:
            parameters = getattr(getattr(info, "safetensors", None), "total", None)
            if engine and parameters and key == "worker.actor.model.model_path":
                yield from engine.size_issues(config, parameters)


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """What `ask` returns or raises. Raises TimeoutError: a silent name server heeds no limit of the client's."""
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
