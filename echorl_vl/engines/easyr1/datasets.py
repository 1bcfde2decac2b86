"""The problem sets of a run: checked row by row as for the local engine, and written so that EasyR1 can read them."""

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
"""Column of a training set that EasyR1 passes on: token ids of the demonstration, with its end of turn."""
_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def wants_demonstrations(config: Config) -> bool:
    """Whether the run trains on demonstrations."""
    needed = make_algorithm(config.algorithm.name, config.algorithm.options).needs_demonstrations
    return needed and not config.trainer.val_only


def prepare_sets(config: Config, note: Callable[[str], None]) -> Callable[[Path], Config]:
    """Load and check both sets.

    Args:
        config: the configuration.
        note: called with a line about rows that are left out.

    Returns:
        `readable_by_easyr1` as a function of the run folder.

    Raises:
        UserError: a set can't be used.
    """
    sets = load_sets(config)
    check_has_images(config, sets["train_files"])
    prompts = make_encoder(config, *load_tokenizer(config))
    prompts.max_prompt_length = None  # EasyR1 filters long prompts itself
    sets, demonstrations = screen_sets(config, sets, prompts, note), None
    if wants_demonstrations(config):
        sets["train_files"], demonstrations = select_demonstrated(config, sets["train_files"], prompts, note)
    return partial(readable_by_easyr1, config, sets=sets, demonstrations=demonstrations)


def load_sets(config: Config) -> dict[str, Problems]:
    """Load both sets and check columns, `<image>` counts, images and size. `screen_sets` filters invalid rows.

    Raises:
        UserError: a set can't be used; the message names file, row and field. Or the training set is smaller than a
            batch, or a set that has to be rewritten has a system message or videos.
    """
    data = config.data
    demonstrated = {"train_files": data.demonstration_key} if wants_demonstrations(config) else {}
    sets = {key: load_set(config, getattr(data, key), demonstrated.get(key), videos=True) for key in KEYS}
    if not sets["train_files"].bad_rows:  # those are reported first
        check_fills_a_batch(config, sets["train_files"])
    for key, problems in sets.items():
        if key in demonstrated or not problems.matches_file:
            _check_rewritable(problems)
    return sets


def check_has_images(config: Config, training: Problems) -> None:
    """Check that the training set of a vision model has images or videos.

    Without any, EasyR1 treats the set as text, and `<image>` stays in the prompts as plain letters.

    Raises:
        UserError: no problem has an image or a video.
    """
    model, data = config.worker.actor.model, config.data
    if not data.image_key or not has_images(read_model_config(model)):
        return
    if not any(problem.images or problem.extra.get(data.video_key) for problem in training):
        raise UserError(
            f"data.train_files = {training.source}: none of {len(training):,} problems has an image in the column "
            f"{data.image_key!r}, and {model.model_path} is a vision model. Set data.image_key to the column of "
            "images, or to '' to train the model on text only"
        )


def screen_sets(
    config: Config, sets: dict[str, Problems], prompts: PromptEncoder, note: Callable[[str], None]
) -> dict[str, Problems]:
    """Filter rows that would stop EasyR1, by decoding images and rendering prompts. Raises UserError as `load_sets`."""
    screened = {key: screen_set(config, problems, prompts, note) for key, problems in sets.items()}
    check_fills_a_batch(config, screened["train_files"])
    for key, problems in screened.items():
        if sets[key].matches_file and not problems.matches_file:
            _check_rewritable(problems)
    return screened


def select_demonstrated(
    config: Config, train: Problems, prompts: PromptEncoder, note: Callable[[str], None]
) -> tuple[Problems, DemonstrationEncoder]:
    """Select the problems with a valid demonstration.

    Args:
        config: the configuration.
        train: the training set.
        prompts: the encoder of its prompts.
        note: called with a line about how many problems are selected.

    Returns:
        The problems, and the encoder of their demonstrations.

    Raises:
        UserError: fewer than a batch are valid, or any is invalid and `data.bad_traces` is "error".
    """
    tokenizer = prompts.tokenizer
    encoder = demonstration_encoder(config, prompts, train[0], end_of_turn(tokenizer, (tokenizer.eos_token_id,)))
    kept = with_demonstrations(config, train, encoder, note)
    check_fills_a_batch(config, kept)
    return kept, encoder


def readable_by_easyr1(
    config: Config, run: Path, sets: dict[str, Problems], demonstrations: DemonstrationEncoder | None = None
) -> Config:
    """Write the `sets` that EasyR1 can't read as parquet files to the folder `run`.

    EasyR1 reads one file, folder or hub id, with question and answer in columns of text. So generated sets are written,
    and sets of several files, of other formats, with rows left out, or with chats, nested columns or GSM8K's solutions.
    With `demonstrations`, every training set is written, with the column `DEMONSTRATION`.

    Returns:
        A copy of `config` with the new paths.
    """
    changed = copy.copy(config)
    changed.data = data = copy.copy(config.data)
    if any("." in key for key in (data.prompt_key, data.answer_key, data.image_key)):
        # With a nested column both sets are written, so both can have the same names.
        data.prompt_key, data.answer_key, data.image_key = "problem", "answer", "images"
    for key in KEYS:
        spec, encoder = getattr(data, key), demonstrations if key == "train_files" else None
        if encoder is not None or not sets[key].matches_file or (isinstance(spec, str) and is_generated(spec)):
            path = run / "data" / f"{key}.parquet"
            _write(path, sets[key], (data.prompt_key, data.answer_key, data.image_key), encoder)
            setattr(data, key, str(path))
    return changed


def with_problem_columns(load_dataset: Callable[..., Any], question_key: str) -> Callable[..., Any]:
    """Wrap `datasets.load_dataset` so that rows have columns for their question and, if they lack one, a uid.

    EasyR1 passes unknown columns on to the trainer, but drops the question once it is tokenized.
    """

    def load(path: str, **options: Any) -> Any:
        rows = load_dataset(path, **options)
        source = options.get("data_files") or options.get("data_dir") or path
        if UID not in rows.column_names:
            rows = rows.add_column(UID, [f"{source}:{row}" for row in range(len(rows))])
        return rows.add_column(QUESTION, list(rows[question_key]))

    return load


def _check_rewritable(problems: Problems) -> None:
    """Raises UserError for a set whose contents would be lost when it is rewritten (`readable_by_easyr1`)."""
    for problem in problems:
        if problem.system is not None:
            raise UserError(
                f"{problem.where}, {problem.keys.prompt}: has a system message, which EasyR1 does not support; "
                "move its text to the file of data.format_prompt, or use engine=local"
            )
        if problem.extra.get(problem.keys.video):
            raise UserError(
                f"{problem.where}, {problem.keys.video}: has videos, which EasyR1 reads only from sets of plain "
                "text columns; expected a set without chat messages, dotted keys, GSM8K's solutions or demonstrations"
            )


def _write(
    path: Path, problems: Problems, columns: tuple[str, str, str], demonstrations: DemonstrationEncoder | None
) -> None:
    question, answer, images = columns
    kinds = {question: pa.string(), answer: pa.string(), UID: pa.string()}
    if any(problem.images for problem in problems):  # for EasyR1 this column means images
        kinds[images] = _IMAGES
    if demonstrations is not None:
        kinds[DEMONSTRATION] = pa.list_(pa.int32())

    def row(_: int, problem: Problem) -> dict[str, Any]:
        # Bytes, since EasyR1 would look for a path in data.image_dir.
        contents = [Path(image).read_bytes() if isinstance(image, str) else image for image in problem.images]
        return {
            question: problem.question,
            answer: problem.answer,
            UID: problem.uid,
            images: [{"bytes": content, "path": None} for content in contents],
            DEMONSTRATION: None if demonstrations is None else demonstrations.encode(problem).tolist(),
        }

    write_problems(path, problems, pa.schema(kinds), row)
