"""The problem sets of a run: checked row by row as for the local engine, and as EasyR1 can read them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from echorl_vl.algorithms import make_algorithm
from echorl_vl.config import Config
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.from_config import demonstration_encoder, load_set, make_encoder, screen_set, with_demonstrations
from echorl_vl.data.generated import is_generated
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.engines.ray.batches import QUESTION, UID
from echorl_vl.engines.ray.datasets import KEYS, check_fills_a_batch, load_tokenizer, write_problems
from echorl_vl.engines.resources import read_model_config
from echorl_vl.errors import UserError
from echorl_vl.models import has_images
from echorl_vl.models.tokens import end_of_turn
from echorl_vl.types import Problem

DEMONSTRATION = "demonstration"
"""Column of a training set that EasyR1 hands through: token ids of the demonstration, with the end of the turn."""
_PICTURES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def wants_demonstrations(config: Config) -> bool:
    """Whether the run learns from demonstrations."""
    needed = make_algorithm(config.algorithm.name, config.algorithm.options).needs_demonstrations
    return needed and not config.trainer.val_only


def prepare_sets(config: Config, note: Callable[[str], None]) -> Callable[[Path], Config]:
    """Loads and checks both sets; what it returns is `readable_by_easyr1` of a run folder. Raises UserError."""
    sets = load_sets(config)
    check_pictures(config, sets["train_files"])
    prompts = make_encoder(config, *load_tokenizer(config))
    prompts.max_prompt_length = None  # EasyR1 leaves out too long prompts itself
    sets, demonstrations = screen_sets(config, sets, prompts, note), None
    if wants_demonstrations(config):
        sets["train_files"], demonstrations = select_demonstrated(config, sets["train_files"], prompts, note)
    return partial(readable_by_easyr1, config, sets=sets, demonstrations=demonstrations)


def load_sets(config: Config) -> dict[str, Problems]:
    """Both sets, checked: columns, `<image>` counts, pictures, size; `screen_sets` says which rows can't be used.

    Raises UserError naming file, row and field, a training set that does not fill one batch, or a system message, which
    EasyR1's prompts have no place for.
    """
    data = config.data
    demonstrated = {"train_files": data.demonstration_key} if wants_demonstrations(config) else {}
    sets = {key: load_set(config, getattr(data, key), demonstrated.get(key), videos=True) for key in KEYS}
    if not sets["train_files"].faults:  # which are said first
        check_fills_a_batch(config, sets["train_files"])
    for key, problems in sets.items():
        if key in demonstrated or not problems.plain:
            _check_rewritable(problems)
    return sets


def check_pictures(config: Config, training: Problems) -> None:
    """Raises UserError where a vision model would be trained on a set without a single picture or video.

    EasyR1 takes such a set for text and goes on, with `<image>` in its prompts as so many letters.
    """
    model, data = config.worker.actor.model, config.data
    if not data.image_key or not has_images(read_model_config(model)):
        return
    if not any(problem.images or problem.extra.get(data.video_key) for problem in training):
        raise UserError(
            f"data.train_files = {training.source}: none of {len(training):,} problems has a picture in the column "
            f"{data.image_key!r}, and {model.model_path} is a vision model. Wanted data.image_key = the column of the "
            "pictures; to train it on text alone: data.image_key=''"
        )


def screen_sets(
    config: Config, sets: dict[str, Problems], prompts: PromptEncoder, note: Callable[[str], None]
) -> dict[str, Problems]:
    """The sets without what would stop EasyR1 at a row: pictures are decoded, prompts are rendered in their template.

    Raises UserError as `load_sets` does.
    """
    screened = {key: screen_set(config, problems, prompts, note) for key, problems in sets.items()}
    check_fills_a_batch(config, screened["train_files"])
    for key, problems in screened.items():
        if sets[key].plain and not problems.plain:
            _check_rewritable(problems)
    return screened


def select_demonstrated(
    config: Config, train: Problems, prompts: PromptEncoder, note: Callable[[str], None]
) -> tuple[Problems, DemonstrationEncoder]:
    """The problems whose demonstration can be used, and what encodes it; `note` takes a line about how many there are.

    Raises UserError where none can be used or too few, and for any that can't under `data.bad_traces: error`.
    """
    tokenizer = prompts.tokenizer
    encoder = demonstration_encoder(config, prompts, train[0], end_of_turn(tokenizer, (tokenizer.eos_token_id,)))
    kept = with_demonstrations(config, train, encoder, note)
    check_fills_a_batch(config, kept)
    return kept, encoder


def readable_by_easyr1(
    config: Config, run: Path, sets: dict[str, Problems], demonstrations: DemonstrationEncoder | None = None
) -> Config:
    """The configuration with the `sets` that EasyR1 can't read written to parquet below `run`.

    EasyR1 reads one file, folder or hub id, and takes a question and its answer from columns of text: generated sets
    are written, and sets of several files, of formats that it has not, with rows left out, or that hold chats, nested
    columns or GSM8K's solutions; with `demonstrations`, a training set of any kind, with the column `DEMONSTRATION`.
    """
    changed = copy.copy(config)
    changed.data = data = copy.copy(config.data)
    if any("." in key for key in (data.prompt_key, data.answer_key, data.image_key)):
        # A nested column makes both sets be written, so one name serves for both.
        data.prompt_key, data.answer_key, data.image_key = "problem", "answer", "images"
    for key in KEYS:
        spec, encoder = getattr(data, key), demonstrations if key == "train_files" else None
        if encoder is not None or not sets[key].plain or (isinstance(spec, str) and is_generated(spec)):
            path = run / "data" / f"{key}.parquet"
            _write(path, sets[key], (data.prompt_key, data.answer_key, data.image_key), encoder)
            setattr(data, key, str(path))
    return changed


def with_problem_columns(load_dataset: Callable[..., Any], question_key: str) -> Callable[..., Any]:
    """`datasets.load_dataset`, as EasyR1 calls it, of a set whose rows keep their question, and uid where they lack it.

    EasyR1 hands columns that it does not know through to the trainer, and drops a question once it is tokenized.
    """

    def load(path: str, **options: Any) -> Any:
        rows = load_dataset(path, **options)
        source = options.get("data_files") or options.get("data_dir") or path
        if UID not in rows.column_names:
            rows = rows.add_column(UID, [f"{source}:{row}" for row in range(len(rows))])
        return rows.add_column(QUESTION, list(rows[question_key]))

    return load


def _check_rewritable(problems: Problems) -> None:
    """Raises UserError for what would be lost in a set that has to be written anew (`readable_by_easyr1`)."""
    for problem in problems:
        if problem.system is not None:
            raise UserError(
                f"{problem.where}, {problem.keys.prompt}: has a system message, which EasyR1's prompts have no place "
                "for; expected none (its text may stand in data.format_prompt), or engine=local"
            )
        if problem.extra.get(problem.keys.video):
            raise UserError(
                f"{problem.where}, {problem.keys.video}: has videos, which EasyR1 reads beside columns of text only; "
                "expected no chat messages, dotted keys, GSM8K's solutions or demonstrations in such a set"
            )


def _write(
    path: Path, problems: Problems, columns: tuple[str, str, str], demonstrations: DemonstrationEncoder | None
) -> None:
    question, answer, pictures = columns
    kinds = {question: pa.string(), answer: pa.string(), UID: pa.string()}
    if any(problem.images for problem in problems):  # EasyR1 takes a set with the column for one of a vision model
        kinds[pictures] = _PICTURES
    if demonstrations is not None:
        kinds[DEMONSTRATION] = pa.list_(pa.int32())

    def row(_: int, problem: Problem) -> dict[str, Any]:
        # The pictures' bytes: a path would be looked up from data.image_dir a second time.
        images = [Path(image).read_bytes() if isinstance(image, str) else image for image in problem.images]
        return {
            question: problem.question,
            answer: problem.answer,
            UID: problem.uid,
            pictures: [{"bytes": image, "path": None} for image in images],
            DEMONSTRATION: None if demonstrations is None else demonstrations.encode(problem).tolist(),
        }

    write_problems(path, problems, pa.schema(kinds), row)
