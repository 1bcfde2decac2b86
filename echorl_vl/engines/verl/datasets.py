"""The problem sets of a run: checked row by row as for the local engine, and written for verl."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from echorl_vl.config import Config
from echorl_vl.data.from_config import load_set, make_encoder, screen_set
from echorl_vl.data.problem import Problems
from echorl_vl.data.templates import IMAGE, VIDEO, load_format_prompt
from echorl_vl.engines.ray.batches import QUESTION, UID
from echorl_vl.engines.ray.datasets import KEYS, check_fills_a_batch, load_tokenizer, write_problems
from echorl_vl.errors import UserError
from echorl_vl.places import split_places
from echorl_vl.types import Problem

_TEXT = pa.string()
_SCHEMA = pa.schema(
    {
        "data_source": _TEXT,
        "prompt": pa.list_(pa.struct({"role": _TEXT, "content": _TEXT})),
        "reward_model": pa.struct({"style": _TEXT, "ground_truth": _TEXT}),
        "extra_info": pa.struct({"index": pa.int64(), UID: _TEXT, QUESTION: _TEXT}),
    }
)


def prepare_sets(config: Config, note: Callable[[str], None]) -> Callable[[Path], Config]:
    """Load and check the sets.

    Args:
        config: the configuration.
        note: called with a line about rows that are left out.

    Returns:
        `readable_by_verl` as a function of the run folder.

    Raises:
        UserError: a set can't be used.
    """
    tokenizer, *_ = load_tokenizer(config)
    return partial(readable_by_verl, config, sets=load_sets(config, tokenizer, note))


def load_sets(config: Config, tokenizer: Any, note: Callable[[str], None] = lambda line: None) -> dict[str, Problems]:
    """Load the sets, without long prompts (`data.filter_overlong_prompts`) and invalid rows (`data.bad_rows`).

    Args:
        config: the configuration.
        tokenizer: the policy's.
        note: called with a line about rows that are left out.

    Returns:
        Key of the section `data` -> problems.

    Raises:
        UserError: a row has images or videos, is invalid or too long, and the message names file, row and field; or the
            training set is smaller than a batch, or the tokenizer has no chat template.
    """
    data = config.data
    encoder = make_encoder(config, tokenizer, None)
    if not (data.override_chat_template or getattr(tokenizer, "chat_template", None)):
        raise UserError(
            f"{config.worker.actor.model.model_path}: the tokenizer has no chat template, which verl needs; set "
            "data.override_chat_template to a file that contains one"
        )
    sets = {}
    for key in KEYS:
        if not (spec := getattr(data, key)):
            continue
        problems = load_set(config, spec, videos=True)
        for problem in problems:
            _check_text(problem)
        sets[key] = screen_set(config, problems, encoder, note)
    check_fills_a_batch(config, sets["train_files"], f" of at most {data.max_prompt_length} tokens")
    return sets


def readable_by_verl(config: Config, run: Path, sets: dict[str, Problems]) -> Config:
    """Write the sets as parquet files of chats, with the format prompt, to the folder `run`.

    Returns:
        A copy of `config` with the new paths.
    """
    changed = copy.copy(config)
    changed.data = copy.copy(config.data)
    around = load_format_prompt(config.data.format_prompt) if config.data.format_prompt else str
    for key, problems in sets.items():
        path, places = run / "data" / f"{key}.parquet", split_places(getattr(config.data, key))

        def row(index: int, problem: Problem, places: list[str] = places) -> dict[str, Any]:
            system = [] if problem.system is None else [{"role": "system", "content": problem.system}]
            return {
                "data_source": _source(problem, places),
                "prompt": [*system, {"role": "user", "content": around(problem.question)}],
                "reward_model": {"style": "rule", "ground_truth": problem.answer},
                "extra_info": {"index": index, UID: problem.uid, QUESTION: problem.question},
            }

        write_problems(path, problems, _SCHEMA, row)
        setattr(changed.data, key, str(path))
    return changed


def _source(problem: Problem, places: list[str]) -> str:
    """verl's name of the problem's data set: the configured name, or the problem's file if there are several."""
    return Path(places[0] if len(places) == 1 else problem.uid.rpartition(":")[0]).name


def _check_text(problem: Problem) -> None:
    expected = "engine verl trains on text (images are untested); expected text only, or engine = easyr1"
    if problem.images:
        raise UserError(f"{problem.where}, {problem.keys.image}: has images; {expected}")
    if problem.extra.get(problem.keys.video):
        raise UserError(f"{problem.where}, {problem.keys.video}: has videos; {expected}")
    for mark in (IMAGE, VIDEO):
        if mark in problem.question:
            raise UserError(f"{problem.where}, {problem.keys.prompt}: has {mark}; {expected}")
