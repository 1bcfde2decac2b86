"""Models and data sets of the Hugging Face hub: asked for once, with a short time limit, before anything is loaded.

The hub's own clients try for half a minute each, and name no key of the configuration.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import at, raise_if_any
from echorl_vl.data.generated import is_generated
from echorl_vl.places import split_of_place, split_places

TIME_LIMIT = 5.0
"""Seconds that the hub has for an answer."""

_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FILES = (".parquet", ".jsonl", ".json", ".csv", ".arrow")
_BYTES_TRAINED, _BYTES_FROZEN = 16, 4  # float32 weight, gradient and AdamW's two moments; a frozen weight under LoRA


def is_hub_id(place: str) -> bool:
    """Whether a path of a model or of problems is an id of the hub, `owner/name`: nothing of that name is here."""
    if is_generated(place) or place.lower().endswith(_FILES) or not _ID.fullmatch(place):
        return False
    return not Path(place).exists() and not ("/" in place and Path(place).parent.is_dir())


def check_hub(config: Config, engine: str = "") -> None:
    """Asks the hub for what `config` takes from it and the cache does not hold. `engine`: the one that will train.

    Raises:
        UserError: names every key whose model or data set is not there, not to be had without access, or too large to
            be trained by the local engine on this machine; or says that the hub can't be reached.
    """
    if asked := [entry for entry in _asked(config, engine) if not _is_cached(*entry[1:])]:
        raise_if_any(_faults(config, engine, asked))


def _asked(config: Config, engine: str) -> Iterator[tuple[str, str, str]]:
    """(key, "model" or "dataset", id) of each thing that comes from the hub."""
    roles = ["actor", "critic"] if engine != "local" and config.algorithm.adv_estimator == "gae" else ["actor"]
    models = [f"worker.{role}.model.{name}" for role in roles for name in ("model_path", "tokenizer_path")]
    sets = (
        ["data.val_files"] if engine == "local" and config.trainer.val_only else ["data.train_files", "data.val_files"]
    )
    for kind, keys in (("model", models), ("dataset", sets)):
        for key in keys:
            given = get_value(config, key) or ""
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


def _faults(config: Config, engine: str, asked: list[tuple[str, str, str]]) -> Iterator[ConfigIssue]:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api = HfApi()
    for number, (key, kind, name) in enumerate(asked):
        ask: Callable[..., Any] = api.model_info if kind == "model" else api.dataset_info
        try:
            info = _within(TIME_LIMIT, lambda ask=ask, name=name: ask(name, timeout=TIME_LIMIT))
        except RepositoryNotFoundError:
            access = "or it is private or gated and this machine is not logged in (hf auth login)"
            yield ConfigIssue((key,), f"{at(config, key)}: no such {kind} on the hub, {access}; nor is it a path here")
        except HfHubHTTPError:  # an answer, if a strange one: the loader asks again and says more
            continue
        except Exception as error:  # whatever HTTP client this version of the hub's has: no network, no name, no answer
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            for other in asked[number:]:
                yield ConfigIssue(
                    (other[0],),
                    f"{at(config, other[0])}: no file or folder of this name is here, the cache of the Hugging Face "
                    f"hub has none, and {constants.ENDPOINT} can't be reached ({why}); expected a path, or a network",
                )
            return
        else:
            if key == "worker.actor.model.model_path" and engine == "local":
                yield from _too_large(config, key, info)


def _too_large(config: Config, key: str, info: Any) -> Iterator[ConfigIssue]:
    """Whether the local engine could hold the model and its optimizer in this machine's memory, where it has no GPU."""
    import torch

    parameters = getattr(getattr(info, "safetensors", None), "total", None)
    if not parameters or (torch.cuda.is_available() and config.trainer.device != "cpu"):
        return
    per_parameter = _BYTES_FROZEN if config.worker.actor.model.lora.rank else _BYTES_TRAINED
    needed, memory = parameters * per_parameter, psutil.virtual_memory().total
    if needed > memory:
        what = "frozen weights" if config.worker.actor.model.lora.rank else "weights, gradients and AdamW"
        yield ConfigIssue(
            (key,),
            f"{at(config, key)}: {parameters / 1e9:.2f} billion parameters, {needed / 2**30:,.0f} GiB for {what}; "
            f"expected at most this machine's {memory / 2**30:,.0f} GiB. Take a smaller model, or EasyR1 on GPUs "
            "(docs/easyr1.md)",
        )


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
