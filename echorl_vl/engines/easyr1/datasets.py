"""The problem sets of a run: checked row by row as for the local engine, and as EasyR1 can read them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from echorl_vl.config import Config
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.from_config import load_set, make_encoder, screen_set
from echorl_vl.data.generated import is_generated, load_generated
from echorl_vl.data.problem import Problems
from echorl_vl.engines.easyr1.expert_traces import load_tokenizer, wants_demonstrations
from echorl_vl.errors import UserError, counted
from echorl_vl.outputs import atomic
from echorl_vl.places import split_of_place
from echorl_vl.types import Problem

KEYS = ("train_files", "val_files")
TRACE = "expert_trace"
"""Column of a training set that EasyR1 hands through: token ids of the expert's trace, with the end of the turn."""
_PICTURES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def load_sets(config: Config) -> dict[str, Problems]:
    """Both sets, checked: columns, `<image>` counts, pictures, size; `screen_sets` says which rows can't be used.

    Raises UserError naming file, row and field, a training set that does not fill one batch, or a system message, which
    EasyR1's prompts have no place for.
    """
    data = config.data
    traced = {"train_files": data.demonstration_key} if wants_demonstrations(config) else {}
    sets = {key: load_set(config, getattr(data, key), traced.get(key), videos=True) for key in KEYS}
    if not sets["train_files"].faults:  # which are said first
        check_fills_a_batch(config, sets["train_files"])
    for key, problems in sets.items():
        if key in traced or not problems.plain:
            _check_rewritable(problems)
    return sets


def screen_sets(
    config: Config, sets: dict[str, Problems], note: Callable[[str], None] = lambda line: None
) -> dict[str, Problems]:
    """The sets without what would stop EasyR1 at a row: pictures are decoded, prompts are rendered in their template.

    EasyR1 leaves out too long prompts itself. Raises UserError as `load_sets` does.
    """
    tokenizer, processor = load_tokenizer(config)
    encoder = make_encoder(config, tokenizer, processor)
    encoder.max_prompt_length = None
    screened = {key: screen_set(config, problems, encoder, note) for key, problems in sets.items()}
    check_fills_a_batch(config, screened["train_files"])
    for key, problems in screened.items():
        if sets[key].plain and not problems.plain:
            _check_rewritable(problems)
    return screened


def check_fills_a_batch(config: Config, train: Problems) -> None:
    """Raises UserError for a training set that is smaller than one batch."""
    data = config.data
    batch, found = data.mini_rollout_batch_size or data.rollout_batch_size, len(train)
    if found < batch:
        raise UserError(
            f"data.train_files = {data.train_files}: {counted(found, 'problem')}, and one batch takes {batch}"
        )


def readable_by_easyr1(
    config: Config, run: Path, sets: dict[str, Problems], traces: DemonstrationEncoder | None = None
) -> Config:
    """The configuration with the `sets` that EasyR1 can't read written to parquet below `run`.

    EasyR1 reads one file, folder or hub id, and takes a question and its answer from columns of text: generated sets
    are written, and sets of several files, of formats that it has not, with rows left out, or that hold chats, nested
    columns or GSM8K's solutions; with `traces`, a training set of any kind,
    with the expert's trace of each problem in the column `TRACE`.
    """
    changed = copy.copy(config)
    changed.data = data = copy.copy(config.data)
    if any("." in key for key in (data.prompt_key, data.answer_key, data.image_key)):
        # A nested column makes both sets be written, so one name serves for both.
        data.prompt_key, data.answer_key, data.image_key = "problem", "answer", "images"
    for key in KEYS:
        spec = getattr(config.data, key)
        its_traces = traces if key == "train_files" else None
        if isinstance(spec, str) and is_generated(spec) and sets[key].plain and its_traces is None:
            place, split = split_of_place(spec)
            path = run / "data" / f"{Path(place).name}_{split}.parquet"
            if not path.is_file():
                _write_generated(place, split, path)
            setattr(data, key, str(path))
        elif its_traces is not None or not sets[key].plain:
            path = run / "data" / f"{key}.parquet"
            _write_problems(sets[key], path, (data.prompt_key, data.answer_key, data.image_key), its_traces)
            setattr(data, key, str(path))
    return changed


def _check_rewritable(problems: Problems) -> None:
    """Raises UserError for what would be lost in a set that has to be written anew (`readable_by_easyr1`)."""
    for problem in problems:
        if problem.system is not None:
            raise UserError(
                f"{problem.where}, {problem.keys.prompt}: has a system message, which EasyR1's prompts have no place "
                "for; wanted none (its text may stand in data.format_prompt), or engine=local"
            )
        if problem.extra.get(problem.keys.video):
            raise UserError(
                f"{problem.where}, {problem.keys.video}: has videos, which EasyR1 reads beside columns of text only; "
                "wanted no chat messages, dotted keys, GSM8K's solutions or experts' traces in such a set"
            )


def _write_problems(
    problems: Problems,
    path: Path,
    columns: tuple[str, str, str],
    traces: DemonstrationEncoder | None = None,
    batch_size: int = 512,
) -> None:
    # EasyR1 takes a set with a column of pictures for one of a vision model.
    has_pictures = any(problem.images for problem in problems)
    kinds = list(zip(columns, (pa.string(), pa.string(), _PICTURES), strict=True))[: 3 if has_pictures else 2]
    schema = pa.schema(kinds if traces is None else [*kinds, (TRACE, pa.list_(pa.int32()))])
    with atomic.replacing(path, durable=False) as partial, pq.ParquetWriter(partial, schema) as writer:
        for start in range(0, len(problems), batch_size):
            rows = [
                dict(zip(columns, _columns_of(problem), strict=True))
                | ({} if traces is None else {TRACE: traces.encode(problem).tolist()})
                for problem in problems[start : start + batch_size]
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _columns_of(problem: Problem) -> tuple[str, str, list[dict]]:
    # The pictures' bytes: a path would be looked up from data.image_dir a second time.
    pictures = [Path(image).read_bytes() if isinstance(image, str) else image for image in problem.images]
    return problem.question, problem.answer, [{"bytes": picture, "path": None} for picture in pictures]


def _write_generated(name: str, split: str, path: Path) -> None:
    rows = load_generated(name, split)
    rows = rows.select_columns([column for column in ("images", "problem", "answer") if column in rows.column_names])
    with atomic.replacing(path, durable=False) as partial:
        rows.to_parquet(str(partial))
