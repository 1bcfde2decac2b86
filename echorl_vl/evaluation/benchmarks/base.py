"""What a benchmark is: its files and their N, how a row becomes a question, how it is graded, what it reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from echorl_vl.types import ImageSource, Keys, Problem

Kind = Literal["free_form", "choice", "yes_no"]


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    `text` is what the model is asked, before the template, with one `<image>` for each of `images`. `answer` is the
    ground truth: text to grade against (free_form), a letter (choice), "yes" or "no" (yes_no). `choices` are the texts
    of the choices in the order in which the model sees them. `error` is an absolute tolerance that the benchmark
    itself states, `exact` says that its numbers are not rounded: a decimal is correct where it is the very value.
    Questions of one `cluster` share a problem or a picture, so their answers are no independent evidence; an empty one
    stands for that of the question's pictures (`cluster_of`). `groups` holds what the benchmark's own metrics need.
    """

    uid: str
    text: str
    answer: str
    kind: Kind = "free_form"
    choices: tuple[str, ...] = ()
    images: tuple[ImageSource, ...] = ()
    subject: str | None = None
    level: str | None = None
    error: float | None = None
    exact: bool = False
    cluster: str = ""
    groups: dict[str, str] = field(default_factory=dict)

    def problem(self, where: str) -> Problem:
        """The question as a prompt encoder takes it; `where` is "<file>:<row>" for messages."""
        return Problem(where, self.text, self.answer, self.images, keys=Keys("question", "answer", "image"))

    def record(self) -> dict[str, Any]:
        """All but the pictures, and a SHA-256 of each picture, as JSON can hold it."""
        values = asdict(self)
        values["choices"] = list(self.choices)
        values["images"] = [_digest(image) for image in self.images]
        if not self.cluster:  # as before there were clusters: the digest of a benchmark without any stays what it was
            del values["cluster"]
        return values


def from_record(record: Mapping[str, Any]) -> Question:
    """The question of a `Question.record()`, without its pictures."""
    return Question(**{**record, "choices": tuple(record["choices"]), "images": (), "cluster": cluster_of(record)})


def cluster_of(record: Mapping[str, Any]) -> str:
    """The cluster of a `Question.record()`: what the benchmark says, else its pictures; "" where it has neither."""
    return record.get("cluster") or " ".join(record.get("images", ()))


def numbered(clusters: Sequence[str]) -> list[int]:
    """The cluster of each question as a number 0 to C - 1, in order of appearance.

    `clusters`: (Q,) `Question.cluster`; a question with an empty one is a cluster of its own.
    """
    numbers: dict[str | int, int] = {}
    return [numbers.setdefault(cluster or index, len(numbers)) for index, cluster in enumerate(clusters)]


def records_sha256(records: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over questions, their answers and pictures: the same for `Question.record()`s and for those read back."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Graded:
    """A question with its n graded responses: `answers` as extracted (None: none), `correct` by the default grader."""

    question: Question
    answers: tuple[str | None, ...]
    correct: tuple[bool, ...]
    truncated: tuple[bool, ...]
    tokens: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """Mean over the n responses."""
        return sum(self.correct) / len(self.correct)


Verdicts = Sequence[tuple[Question, bool]]
"""Questions with the verdict on one response each: what a benchmark's own metric looks at."""


def over_samples(graded: Sequence[Graded], metric: Callable[[Verdicts], dict[str, float]]) -> dict[str, float]:
    """`metric` of sample 0 of every question, of sample 1, ... and the mean of each of its values; a count is an int.

    A metric that asks whether several questions are all correct has to see one draw at a time.
    """
    samples = min(len(one.correct) for one in graded)
    values = [metric([(one.question, one.correct[sample]) for one in graded]) for sample in range(samples)]
    return {
        name: first if isinstance(first, int) else sum(value[name] for value in values) / samples
        for name, first in values[0].items()
    }


def all_correct_share(verdicts: Verdicts, *keys: str) -> float:
    """Share of the groups, one for each combination of `Question.groups[key]`, whose questions are all correct."""
    groups: dict[tuple[str, ...], bool] = {}
    for question, correct in verdicts:
        group = tuple(question.groups[key] for key in keys)
        groups[group] = groups.get(group, True) and correct
    return sum(groups.values()) / len(groups)


@dataclass(frozen=True)
class Hub:
    """Where the official file is on the Hugging Face hub."""

    name: str
    split: str
    config: str | None = None

    def __str__(self) -> str:
        return f"{self.name}{f' ({self.config})' if self.config else ''}@{self.split}"


@dataclass(frozen=True)
class Edition:
    """A published form of a benchmark's file.

    It has `size` questions, and columns (`marks`) that tell it from the benchmark's other editions. `holds` are words
    of one of its questions, where another benchmark has files of the same columns and size.
    """

    name: str
    size: int
    marks: tuple[str, ...] = ()
    holds: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a benchmark's file on its way to becoming a Question. `where` is "<file>, row <n>" for messages."""

    values: Mapping[str, Any]
    number: int
    where: str
    folder: Path | None
    seed: int


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: what `--bench` takes.
        title: name in words.
        hub: the official file.
        files: patterns of the file below a local data folder; the first that matches is taken.
        editions: published forms of the file; N has to be the size of the first one whose marks are all there. Several
            with the same marks are alternatives of each other.
        columns: what a file must have; a tuple of names means any one of them.
        read: makes a question of a row.
        samples: responses for each question under the paper's protocol (k of avg@k).
        own_metrics: metrics that this benchmark defines, from all of its graded questions.
        shuffled: the choices are shuffled, by the seed.
        note: a sentence on how it is graded, for `--list` and the docs.
    """

    name: str
    title: str
    hub: Hub
    files: tuple[str, ...]
    editions: tuple[Edition, ...]
    columns: tuple[str | tuple[str, ...], ...]
    read: Callable[[Row], Question]
    samples: int = 1
    own_metrics: Callable[[Sequence[Graded]], dict[str, float]] | None = None
    pictures: bool = False
    shuffled: bool = False
    note: str = ""

    @property
    def size(self) -> int:
        """N of the official file."""
        return self.editions[0].size


def _digest(image: Any) -> str:
    content = image if isinstance(image, bytes) else Path(image).read_bytes()
    return hashlib.sha256(content).hexdigest()
