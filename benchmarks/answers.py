"""How often graders are wrong on pairs of an answer and a ground truth, and how long the default one takes.

    python benchmarks/answers.py tests/answers/kind_pairs.tsv
    python benchmarks/answers.py --truths ../shared/data
    python benchmarks/answers.py --speed

A file of pairs has lines of answer<TAB>ground truth<TAB>1 (correct) or 0. With `--truths`, every ground truth of the
benchmarks has to equal itself in usual forms, where they make sense (a degree sign after a number), and to differ from
the next one unless the two have equal values.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet

from echorl_vl.answers.grading import DEFAULT, grade, value_of
from echorl_vl.answers.kinds import Answer, Intervals, Matrix, Value
from echorl_vl.answers.parse import parse
from echorl_vl.evaluation.benchmarks import get
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.benchmarks.sources import load
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.evaluation.grading.grade import Grader

TEXT_BENCHMARKS = ("math500", "minerva", "olympiadbench", "mathvision")
FORMS: dict[str, Callable[[str], str]] = {
    "itself": lambda truth: truth,
    "boxed": lambda truth: rf"so the answer is \boxed{{{truth}}}",
    "x =": lambda truth: f"x = {truth}",
    "$...$": lambda truth: f"${truth.strip('$')}$",
    r"\text": lambda truth: rf"\text{{{truth}}}",
    "period": lambda truth: f"{truth}.",
    "degrees": lambda truth: rf"{truth}^\circ",
}
TAKE_FORM = {"x =": (Value, Intervals, Matrix), "degrees": Value}
"""Kinds of answers that a form makes sense for, where that is not all."""


@dataclass(frozen=True)
class Pair:
    answer: str
    truth: str
    correct: bool


def read_pairs(path: Path) -> list[Pair]:
    """Read the pairs of a file. Raises SystemExit for a line that is none."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("# "):
            continue
        parts = line.replace("\u23ce", "\n").split("\t")
        if len(parts) < 3 or parts[2].strip() not in ("0", "1"):
            sys.exit(f"{path}:{number}: expected answer<TAB>ground truth<TAB>0 or 1, got {line!r}")
        pairs.append(Pair(parts[0], parts[1], parts[2].strip() == "1"))
    return pairs


def compare_graders(pairs: Sequence[Pair], list_errors: bool) -> Iterator[str]:
    """Yield a line of counts per grader, and the errors of the default grader."""
    questions = [Question(str(number), "?", pair.truth) for number, pair in enumerate(pairs)]
    responses = [[Response(rf"\boxed{{{pair.answer}}}", 1, False)] for pair in pairs]
    verdicts = {"ours": [grade(pair.answer, pair.truth) for pair in pairs]}
    with Grader() as grader:
        grades = grader.grade(questions, responses)
    verdicts |= {name: [row[0] for row in rows] for name, rows in grades.verdicts.items()}
    correct = sum(pair.correct for pair in pairs)
    yield f"{len(pairs)} pairs: {correct} correct, {len(pairs) - correct} incorrect answers"
    for name, found in verdicts.items():
        positives = sum(verdict and not pair.correct for verdict, pair in zip(found, pairs, strict=True))
        negatives = sum(pair.correct and not verdict for verdict, pair in zip(found, pairs, strict=True))
        yield (
            f"{name:12s} accepts {positives:3d} incorrect answers ({positives / max(1, len(pairs) - correct):5.1%}), "
            f"refuses {negatives:3d} correct ones ({negatives / max(1, correct):5.1%})"
        )
    for verdict, pair in zip(verdicts["ours"], pairs, strict=True):
        if list_errors and verdict != pair.correct:
            yield f"  {'accepts' if verdict else 'refuses'} {pair.answer!r} for {pair.truth!r}"


def check_truths(folder: Path, list_errors: bool) -> Iterator[str]:
    """Yield a line per benchmark: how many truths are refused in each form, and how many equal the next one."""
    sets = {
        name: [one.answer for one in load(get(name), folder) if one.kind == "free_form"] for name in TEXT_BENCHMARKS
    }
    for split in ("train", "validation", "test"):
        table = pyarrow.parquet.read_table(folder / "geometry3k" / f"{split}.parquet", columns=["answer"])
        sets[f"geometry3k {split}"] = [str(answer) for answer in table["answer"].to_pylist()]
    for name, truths in sets.items():
        refused, tested = dict.fromkeys(FORMS, 0), dict.fromkeys(FORMS, 0)
        errors = []
        for truth in truths:
            kind = parse(truth)
            for form, dress in FORMS.items():
                if not isinstance(kind, TAKE_FORM.get(form, Answer)) or (form == "degrees" and kind.label != "number"):
                    continue
                tested[form] += 1
                if not grade(dress(truth), truth):
                    refused[form] += 1
                    errors.append(f"  {form}: refuses {dress(truth)!r} for {truth!r}")
        equal = [(one, other) for one, other in zip(truths, [*truths[1:], truths[0]], strict=True) if grade(other, one)]
        unequal = [pair for pair in equal if pair[0] != pair[1] and len({value_of(text) for text in pair}) > 1]
        counts = ", ".join(f"{form} {count} of {tested[form]}" for form, count in refused.items())
        neighbours = f"equal to the next {len(equal)}, by mistake {len(unequal)}"
        yield f"{name}: {len(truths)} truths; refused: {counts}; {neighbours}"
        yield from errors if list_errors else ()
        yield from (f"  accepts {other!r} for {one!r}" for one, other in unequal)


def measure_speed() -> Iterator[str]:
    """Yield answers per second for plain numbers, and the time of an answer with variables."""
    rng = random.Random(0)
    numbers = [(str(rng.randrange(10**4)), str(rng.randrange(10**4))) for _ in range(20_000)]
    decimals = [(f"{rng.random() * 100:.2f}", f"{rng.random() * 100:.1f}") for _ in range(20_000)]
    for name, pairs in (("integers", numbers), ("decimals", decimals)):
        begin = time.perf_counter()
        for answer, truth in pairs:
            grade(answer, truth, DEFAULT)
        yield f"{name}: {len(pairs) / (time.perf_counter() - begin):,.0f} answers per second"
    seconds = []
    for number in range(300):
        a, b = rng.randrange(2, 99), rng.randrange(2, 99)
        one = rf"\frac{{(x+{a})^2}}{{{b}}} + \sqrt{{x}} \sin {number} y"
        other = rf"\frac{{x^2+{2 * a}x+{a * a}}}{{{b}}} + x^{{1/2}} \sin({number} y)"
        begin = time.perf_counter()
        assert grade(one, other, DEFAULT)
        seconds.append(time.perf_counter() - begin)
    tenth = statistics.quantiles(seconds, n=10)[-1]
    yield f"expressions: median {statistics.median(seconds) * 1000:.1f} ms, 90th percentile {tenth * 1000:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="files of pairs")
    parser.add_argument("--errors", action="store_true", help="list what the default grader gets wrong")
    parser.add_argument("--truths", type=Path, metavar="DATA", help="folder with the benchmarks: check their truths")
    parser.add_argument("--speed", action="store_true", help="measure the default grader's speed")
    options = parser.parse_args()
    if not (options.files or options.truths or options.speed):
        parser.error("nothing to do: give a file of pairs, --truths or --speed")
    for path in options.files:
        print(path, *compare_graders(read_pairs(path), options.errors), sep="\n", flush=True)
    for line in check_truths(options.truths, options.errors) if options.truths else ():
        print(line, flush=True)
    for line in measure_speed() if options.speed else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
