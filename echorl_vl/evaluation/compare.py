"""Compare two results of `echorl eval`: is B better than A? Uses a paired bootstrap and a permutation test."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from echorl_vl.errors import UserError, shorten
from echorl_vl.evaluation.benchmarks.base import cluster_numbers, cluster_of
from echorl_vl.evaluation.console import show_table, wide_console
from echorl_vl.evaluation.folder import Keys, read_json, read_lines, read_questions
from echorl_vl.evaluation.paired import LEVEL, RESAMPLES, Difference, mean_difference, paired_bootstrap
from echorl_vl.outputs.atomic import write_text
from echorl_vl.outputs.command import command, make_parser, parse_arguments, program

HEADS = ("", "verdict", "N", "A", "B", "B - A", "95 % interval", "P(B <= A)", "p", "wins", "losses")
# Settings that are not listed as differences: the questions have to be the same, and the models are compared.
_NOT_LISTED = ("questions_sha256", "model_sha256")
_RESULT: Keys = {
    "benchmark": str,
    "settings": dict,
    "settings.questions_sha256": str,
    "settings.edition": str,
    "grading": dict,
    "partial": (str, type(None)),
}
_GRADES: Keys = {"uid": str, "truth": str, "answers": list, "correct": list}


@dataclass(frozen=True)
class BenchmarkResult:
    """One benchmark in one folder.

    Attributes:
        path: the benchmark's folder.
        settings: settings of the responses.
        grading: settings of the graders.
        grades: {"uid", "truth", "answers", "correct", ...} of each question.
        questions: records of the questions by uid.
        partial: what a partial result leaves out; None for all questions.
    """

    path: Path
    settings: dict[str, Any]
    grading: dict[str, Any]
    grades: list[dict[str, Any]]
    questions: dict[str, dict[str, Any]]
    partial: str | None


@dataclass(frozen=True)
class Comparison:
    """A benchmark that is in both folders.

    Attributes:
        name: name of the benchmark.
        a: accuracy of A.
        b: accuracy of B.
        questions: number of questions.
        clusters: number of clusters of questions that share a problem or an image.
        difference: B minus A.
        changed: questions whose accuracy differs, largest difference first.
        protocol: settings that differ, other than the model.
        partial: what a partial result leaves out; None for all questions.
        part_of: another compared benchmark that contains all of these questions, if there is one.
    """

    name: str
    a: float
    b: float
    questions: int
    clusters: int
    difference: Difference
    changed: list[dict[str, Any]]
    protocol: list[str]
    partial: str | None
    part_of: str | None

    @property
    def wins(self) -> list[dict[str, Any]]:
        """Questions on which B is more accurate."""
        return [one for one in self.changed if one["difference"] > 0]

    @property
    def losses(self) -> list[dict[str, Any]]:
        """Questions on which A is more accurate."""
        return [one for one in self.changed if one["difference"] < 0]


def compare(a: Path, b: Path, seed: int = 0, resamples: int = RESAMPLES) -> tuple[list[Comparison], list[str]]:
    """Compare all benchmarks that are in both folders.

    Returns:
        The comparisons, and a line for each benchmark that is in only one folder.

    Raises:
        UserError: no benchmark is in both folders, or the questions of a benchmark differ.
    """
    sides_a, sides_b = _sides(a), _sides(b)
    names = [name for name in sides_a if name in sides_b]
    if not names:
        raise UserError(f"no benchmark in common: {a} has {', '.join(sides_a)}; {b} has {', '.join(sides_b)}")
    only = [f"{name}: only in {a}, not compared" for name in sides_a if name not in sides_b]
    only += [f"{name}: only in {b}, not compared" for name in sides_b if name not in sides_a]
    larger = _part_of({name: sides_a[name] for name in names})
    return [_compare(name, sides_a[name], sides_b[name], larger.get(name), seed, resamples) for name in names], only


def _part_of(sides: dict[str, BenchmarkResult]) -> dict[str, str]:
    """Map a benchmark to a larger one that contains all of its questions, such as amc23 to amc83."""
    texts = {
        name: {re.sub(r"\W+", "", question["text"]) for question in side.questions.values()}
        for name, side in sides.items()
    }
    # In order of size, so that of two benchmarks with the same questions only one is a part of the other.
    order = sorted(texts, key=lambda name: len(texts[name]))
    parts = {}
    for index, name in enumerate(order):
        larger = [other for other in order[index + 1 :] if texts[name] <= texts[other]]
        if larger:
            parts[name] = larger[-1]
    return parts


def _compare(
    name: str, a: BenchmarkResult, b: BenchmarkResult, part_of: str | None, seed: int, resamples: int
) -> Comparison:
    if a.settings["questions_sha256"] != b.settings["questions_sha256"]:
        raise UserError(
            f"{name}: {a.path} and {b.path} have different questions ({len(a.grades)} of {a.settings['edition']}, "
            f"{len(b.grades)} of {b.settings['edition']}; they also depend on --limit, the images, and --seed if it "
            "shuffles choices)"
        )
    pairs = list(zip(a.grades, b.grades, strict=True))
    means = [(_mean(one["correct"]), _mean(other["correct"])) for one, other in pairs]
    differences = [mean_b - mean_a for mean_a, mean_b in means]
    changed = [
        {
            "uid": one["uid"],
            "difference": difference,
            "question": a.questions[one["uid"]]["text"],
            "truth": one["truth"],
            "answers_a": one["answers"],
            "answers_b": other["answers"],
        }
        for (one, other), difference in zip(pairs, differences, strict=True)
        if difference
    ]
    changed.sort(key=lambda entry: -abs(entry["difference"]))
    clusters = [cluster_of(a.questions[one["uid"]]) for one in a.grades]
    return Comparison(
        name=name,
        a=sum(mean_a for mean_a, _ in means) / len(means),
        b=sum(mean_b for _, mean_b in means) / len(means),
        questions=len(means),
        clusters=len(set(cluster_numbers(clusters))),
        difference=paired_bootstrap(differences, seed, resamples, name, clusters),
        changed=changed,
        protocol=_protocol(a.settings, b.settings) + _protocol(a.grading, b.grading, "grading, "),
        partial=a.partial or b.partial,
        part_of=part_of,
    )


def _protocol(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the settings that differ, other than the model: they may cause a difference in accuracy."""
    return [
        f"{prefix}{key}: {shorten(str(a.get(key)), 60)} | {shorten(str(b.get(key)), 60)}"
        for key in {**a, **b}
        if key not in _NOT_LISTED and a.get(key) != b.get(key)
    ]


def _sides(folder: Path) -> dict[str, BenchmarkResult]:
    """Read the benchmarks in a folder of `eval.run`, or in the folder of one benchmark."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = (
        [folder] if (folder / "result.json").exists() else sorted(path.parent for path in folder.glob("*/result.json"))
    )
    if not found:
        again = f"{program('eval', 'eval.run')} --out {folder}"
        raise UserError(f"{folder}: no result.json in it or in its subfolders: run `{again}` first")
    sides = {}
    for path in found:
        result = read_json(path / "result.json", _RESULT)
        records = read_questions(path / "questions.jsonl", result["settings"]["questions_sha256"])
        questions = {question["uid"]: question for question in records}
        grades = read_lines(path / "grades.jsonl", _GRADES)
        if [grade["uid"] for grade in grades] != list(questions) or not all(grade["correct"] for grade in grades):
            raise UserError(
                f"{path / 'grades.jsonl'}: expected a verdict for each question of questions.jsonl, in the same order: "
                f"grade again with `{program('eval', 'eval.run')} --grade-only`"
            )
        sides[result["benchmark"]] = BenchmarkResult(
            path, result["settings"], result["grading"], grades, questions, result["partial"]
        )
    return sides


def _mean(correct: Sequence[bool]) -> float:
    return sum(correct) / len(correct)


def show(comparisons: Sequence[Comparison], only: Sequence[str], listed: int, console: Console) -> None:
    """Print the table, notes, the settings that differ, and up to `listed` wins and losses of each benchmark."""
    rows = [
        (
            one.name + (" (PARTIAL)" if one.partial else ""),
            one.difference.verdict,
            str(one.questions),
            f"{100 * one.a:.1f} %",
            f"{100 * one.b:.1f} %",
            *_statistics(one.difference),
            str(len(one.wins)),
            str(len(one.losses)),
        )
        for one in comparisons
    ]
    mean = _mean_of(comparisons)
    if mean is not None:
        partial = any(one.partial for one in _counted(comparisons))
        rows.append(("mean (PARTIAL)" if partial else "mean", mean.verdict, "", "", "", *_statistics(mean), "", ""))
    show_table(console, HEADS, rows, left=HEADS[:2])
    for line in _notes(comparisons):
        console.print(line, soft_wrap=True)
    for line in only:
        console.print(line, soft_wrap=True)
    for one in comparisons:
        if one.clusters != one.questions:
            console.print(
                f"{one.name}: {one.questions} questions in {one.clusters} clusters that share a problem or an image; "
                "the questions of a cluster are resampled and flipped together",
                soft_wrap=True,
            )
        for line in one.protocol:
            console.print(f"{one.name}: differs between A and B: {line}", soft_wrap=True)
        for title, entries in (("B correct", one.wins), ("A correct", one.losses)):
            for entry in entries[:listed]:
                console.print(_line(one.name, title, entry), soft_wrap=True)
            if len(entries) > listed > 0:
                console.print(f"{one.name}: and {len(entries) - listed} more; --json FILE has all", soft_wrap=True)


def _counted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons in the mean: no question counts twice."""
    return [one for one in comparisons if one.part_of is None]


def _mean_of(comparisons: Sequence[Comparison]) -> Difference | None:
    """Return the mean over several benchmarks; None for one."""
    counted = _counted(comparisons)
    return mean_difference([one.difference for one in counted]) if len(counted) > 1 else None


def _notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Return notes on multiple testing and on benchmarks that are not in the mean."""
    count = len(comparisons)
    if count < 2:
        return []
    expected = f"{count} x 5 % = {count * (1 - LEVEL):.2g}"
    mean = "; the mean is one test" if len(_counted(comparisons)) > 1 else ""
    return [
        f"each verdict is at the 5 % level: of {count} benchmarks {expected} may differ by chance{mean}",
        *(
            f"{one.name}: not in the mean, all of its questions are also in {one.part_of}"
            for one in comparisons
            if one.part_of is not None
        ),
    ]


def _statistics(difference: Difference) -> tuple[str, str, str, str]:
    interval = f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
    p = f"{difference.sign_flip_p:.3f}"
    return f"{100 * difference.value:+.1f}", interval, f"{difference.p_not_better:.3f}", p


def _line(name: str, title: str, entry: dict[str, Any]) -> str:
    return (
        f"{name} {entry['uid']}: {title} ({entry['difference']:+.2f}); truth {shorten(entry['truth'], 40)!r}, "
        f"A {_answers(entry['answers_a'])}, B {_answers(entry['answers_b'])}; {shorten(entry['question'], 100)!r}"
    )


def _answers(answers: Sequence[str | None]) -> str:
    shown = ", ".join("no answer" if answer is None else repr(shorten(answer, 30)) for answer in answers[:3])
    return shown + (f" and {len(answers) - 3} more" if len(answers) > 3 else "")


def _report(comparisons: Sequence[Comparison], only: Sequence[str]) -> dict[str, Any]:
    """Return the content of the file --json: all that `show` prints, and every question that differs."""
    mean = _mean_of(comparisons)
    return {
        "benchmarks": {
            one.name: {
                "questions": one.questions,
                "clusters": one.clusters,
                "partial": one.partial,
                "part_of": one.part_of,
                "a": one.a,
                "b": one.b,
                **_numbers(one.difference),
                "wins": len(one.wins),
                "losses": len(one.losses),
                "settings_that_differ": one.protocol,
                "changed": one.changed,
            }
            for one in comparisons
        },
        "mean": None if mean is None else {"benchmarks": [one.name for one in _counted(comparisons)], **_numbers(mean)},
        "not_compared": list(only),
        "notes": _notes(comparisons),
    }


def _numbers(difference: Difference) -> dict[str, Any]:
    return {
        "difference": difference.value,
        "interval_95": [difference.low, difference.high],
        "standard_error": difference.standard_error,
        "share_not_better": difference.p_not_better,
        "sign_flip_p": difference.sign_flip_p,
        "verdict": difference.verdict,
    }


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 2 invalid input, 130 stopped by the user)."""
    parser = make_parser("compare", "eval.compare", __doc__)
    parser.add_argument("a", type=Path, help="folder A, written by eval.run")
    parser.add_argument("b", type=Path, help="folder B, with the same questions")
    parser.add_argument("--show", type=int, default=5, help="wins and losses to list per benchmark (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the whole comparison to this file")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (%(default)s)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="number of bootstrap resamples (%(default)s)")
    given = parse_arguments(parser, arguments)
    if given.resamples < 100:
        raise UserError(f"--resamples {given.resamples}: expected at least 100")
    comparisons, only = compare(given.a, given.b, given.seed, given.resamples)
    show(comparisons, only, max(given.show, 0), wide_console())
    if given.json is not None:
        write_text(given.json, json.dumps(_report(comparisons, only), indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
