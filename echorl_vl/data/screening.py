"""Check a whole set before the run, to find every problem that would stop the run when it is used.

Each prompt is rendered and measured, and its images are decoded, since only decoding finds a truncated image. The
result depends on files and settings only, so a resumed run has the same problems in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from rich.progress import track

from echorl_vl.data.bad_rows import LISTED_AT_START, BadRow, RowError, handle_bad_rows
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder, PromptOutline
from echorl_vl.errors import UserError, counted
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.log import is_quiet
from echorl_vl.types import Problem

ALL_UP_TO = 10_000
"""`auto` decodes the images of all problems of a set up to this size."""
SAMPLE = 2_000
"""Number of problems, evenly spread, whose images `auto` decodes in a larger set."""
_BATCH = 256


def screen(
    problems: Problems,
    encoder: PromptEncoder,
    bad_rows: str = "error",
    check_images: str = "auto",
    leave_out_overlong: bool = True,
    note: Callable[[str], None] = lambda line: None,
) -> Problems:
    """Leave out the problems that a run can't use, and report them with the bad rows of loading (`Problems.bad_rows`).

    Args:
        problems: the set.
        encoder: of the run's prompts.
        bad_rows: "error" or "drop", see `handle_bad_rows`.
        check_images: decode "all" images, none ("off"), or as many as `ALL_UP_TO` and `SAMPLE` say ("auto").
        leave_out_overlong: leave out prompts above the encoder's limit and count them; else they are bad rows.
        note: takes the messages about problems that are left out or not checked.

    Raises:
        UserError: a row can't be used and ``bad_rows`` is "error", or no row is left.
    """
    decoded = _decoded(len(problems), check_images)
    bad: dict[int, BadRow] = {}
    lengths: dict[int, int] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in _progress(range(0, len(problems), _BATCH), problems, encoder):
            batch = {index: problems[index] for index in range(start, min(start + _BATCH, len(problems)))}
            lengths |= _measure(batch, encoder, bad)
            with_images = [i for i, problem in batch.items() if problem.images and i in decoded and i not in bad]
            if encoder.images is not None:
                faults = pool.map(lambda i, batch=batch: _image_fault(batch[i], encoder), with_images)
                bad |= {i: fault.bad_row(i) for i, fault in zip(with_images, faults, strict=True) if fault}
    limit = encoder.max_prompt_length
    overlong = [] if limit is None else [i for i, length in lengths.items() if length > limit and i not in bad]
    if overlong and not leave_out_overlong:
        bad |= {i: encoder.too_long(problems[i], lengths[i]).bad_row(i) for i in overlong}
    rows = problems.total if problems.bad_rows else len(problems)
    handle_bad_rows(_in_order(problems, bad), rows, bad_rows, note, LISTED_AT_START)
    left_out = bad.keys() | overlong
    if len(left_out) == len(problems):
        raise UserError(
            f"{problems.source}: all {len(overlong)} prompts are longer than data.max_prompt_length = {limit} tokens; "
            f"the shortest has {min(lengths.values())}"
        )
    if overlong and leave_out_overlong:
        note(
            f"{problems.source}: skipped {counted(len(overlong), 'prompt')} longer than data.max_prompt_length = "
            f"{limit} tokens"
        )
    if check_images == "auto" and len(decoded) < len(problems) and encoder.images is not None:
        note(
            f"{problems.source}: checked the images of {len(decoded):,} of {len(problems):,} problems "
            "(data.check_images = auto; 'all' checks all of them)"
        )
    if not left_out and not problems.bad_rows:
        return problems
    return problems.select([i for i in range(len(problems)) if i not in left_out])


def _in_order(problems: Problems, bad: dict[int, BadRow]) -> list[BadRow]:
    """All bad rows, those of loading included, by file and row."""
    found = [bad[index] for index in sorted(bad)]
    if not problems.bad_rows:
        return found
    order = {source: number for number, source in enumerate(problems.sources)}
    return sorted([*problems.bad_rows, *found], key=lambda fault: (order.get(fault.source, len(order)), fault.row))


def _decoded(size: int, check_images: str) -> set[int]:
    """Indices of the problems whose images to decode."""
    if check_images == "off":
        return set()
    if check_images == "all" or size <= ALL_UP_TO:
        return set(range(size))
    return {index * size // SAMPLE for index in range(SAMPLE)}


def _measure(batch: dict[int, Problem], encoder: PromptEncoder, bad: dict[int, BadRow]) -> dict[int, int]:
    """Number of tokens of each prompt. Problems that can't be rendered are added to ``bad``."""
    outlines: dict[int, PromptOutline] = {}
    for index, problem in batch.items():
        try:
            if problem.extra.get(problem.keys.video):  # such a prompt is made by the engine that reads videos
                encoder.check_reserved(problem)
            else:
                outlines[index] = encoder.outline(problem)
        except RowError as error:
            bad[index] = error.bad_row(index)
    return dict(zip(outlines, encoder.count_tokens(list(outlines.values())), strict=True))


def _image_fault(problem: Problem, encoder: PromptEncoder) -> RowError | None:
    try:
        encoder.images.open(problem)
    except RowError as error:
        return error
    return None


def _progress(starts: range, problems: Problems, encoder: PromptEncoder) -> Iterable[int]:
    """Show a progress bar on a terminal, and remove it at the end."""
    console = make_console(stderr=True)
    what = "checking prompts and images" if encoder.images else "checking prompts"
    shown = console.is_terminal and len(starts) > 1 and not is_quiet()
    return track(starts, f"{what} of {problems.source}", console=console, transient=True, disable=not shown)
