"""We-Math testmini (Qiao et al., 2024): problems of two or three steps, and each step as a separate problem."""

from __future__ import annotations

import re
from collections.abc import Sequence

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import (
    Benchmark,
    Edition,
    GradedQuestion,
    Hub,
    Question,
    Row,
    Verdicts,
    over_samples,
)
from echorl_vl.evaluation.benchmarks.choices import LETTERS, ask

_CHOICE = re.compile(r"(?:^|[;；\s])\s*([A-H])\s*[.．、]\s*(?![;；])")
# No choice begins before a semicolon: the file has semicolons within names, "AB;C.;" for "ABC."
_KEY = re.compile(r"([23])steps_([123]|multi)")


def read(row: Row) -> Question:
    """`option` is one text, "A. 3 cm; B. 5 cm; ..."; a problem and its steps share `ID` and differ in `key`."""
    choices = _choices(rows.text(row, "option"))
    if len(choices) < 2:
        raise UserError(f"{row.where}, option: expected choices 'A. ...; B. ...', got {rows.text(row, 'option')!r}")
    key, problem = rows.text(row, "key"), rows.key(row, "ID")
    if not _KEY.fullmatch(key):
        raise UserError(f"{row.where}, key: expected 2steps_1 to 3steps_multi, got {key!r}")
    return Question(
        uid=f"{problem}/{key}",
        text=rows.with_image(ask(rows.text(row, "question"), choices)),
        answer=rows.letter(row, "answer", len(choices)),
        kind="choice",
        choices=choices,
        images=(rows.image(row, "image_path", "image"),),
        subject=rows.label(row, "knowledge concept"),
        level={"1": "one step", "2": "one step", "3": "one step", "multi": f"{key[0]} steps"}[key.partition("_")[2]],
        cluster=f"{key[0]} steps/{problem}",
        groups={"problem": problem, "steps": key[0], "part": key.partition("_")[2]},
    )


def four_dimensions(graded: Sequence[GradedQuestion]) -> dict[str, float]:
    """Compute We-Math's four-dimensional metric, strict and loose, as the authors' `four_dimensional_metrics.py` does.

    Each problem of several steps falls into one class:

    - insufficient knowledge (IK): the problem and at least one step are incorrect;
    - inadequate generalization (IG): the problem is incorrect, all steps are correct;
    - complete mastery: the problem is correct and all steps are (strict), or any step is (loose);
    - rote memorization (RM): the problem is correct and at least one step is not (strict), or no step is (loose).

    Rote memorization is reported as a share of the correct problems. The score is 1 - 0.5 IG - IK - RM, each as a share
    of all problems.
    """
    return over_samples(graded, _four_dimensions)


def _four_dimensions(verdicts: Verdicts) -> dict[str, float]:
    problems: dict[tuple[str, str], dict[str, bool]] = {}
    for question, correct in verdicts:
        groups = question.groups
        problems.setdefault((groups["steps"], groups["problem"]), {})[groups["part"]] = correct
    complete = [
        (parts.pop("multi"), list(parts.values()))
        for (steps, _), parts in sorted(problems.items())
        if len(parts) == int(steps) + 1 and "multi" in parts
    ]
    count = len(complete)
    if count == 0:  # with --limit no problem may be left with all its steps
        return {}
    insufficient = sum(not correct and not all(steps) for correct, steps in complete)
    inadequate = sum(not correct and all(steps) for correct, steps in complete)
    values = {
        "problems of several steps": count,
        "insufficient knowledge": insufficient / count,
        "inadequate generalization": inadequate / count,
    }
    for name, mastered in (("strict", all), ("loose", any)):
        mastery = sum(correct and mastered(steps) for correct, steps in complete)
        rote = sum(correct and not mastered(steps) for correct, steps in complete)
        values[f"score ({name})"] = (count - 0.5 * inadequate - insufficient - rote) / count
        values[f"complete mastery ({name})"] = mastery / count
        values[f"rote memorization ({name})"] = rote / (mastery + rote) if mastery + rote else 0.0
    return values


def _choices(option: str) -> tuple[str, ...]:
    """Return the texts in "A. 300, 400;B. 400, 300"; a choice begins only at the next expected letter."""
    starts: list[re.Match[str]] = []
    for match in _CHOICE.finditer(option):
        if match[1] == LETTERS[len(starts)]:
            starts.append(match)
    ends = [match.start() for match in starts[1:]] + [len(option)]
    return tuple(option[match.end() : end].strip(" ;；") for match, end in zip(starts, ends, strict=True))


BENCHMARKS = (
    Benchmark(
        name="wemath",
        title="We-Math, testmini",
        hub=Hub("We-Math/We-Math", "testmini"),
        files=("**/[Ww]e-[Mm]ath/**/testmini*", "**/[Ww]e[Mm]ath/**/testmini*"),
        editions=(Edition("We-Math/We-Math, testmini", 1740),),
        columns=("ID", "key", "question", "option", "answer", "image_path"),
        read=read,
        own_metrics=four_dimensions,
        images=True,
        note="letters; the authors' four-dimensional metric, strict and loose, on the 525 problems of several steps",
    ),
)
