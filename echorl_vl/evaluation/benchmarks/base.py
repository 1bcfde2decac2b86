"""Benchmarks and their questions: files and sizes, from a row to a question, graded responses, metrics."""

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

    Attributes:
        uid: id of the question, unique in the benchmark.
        text: the prompt before the template, with one `<image>` for each of `images`.
        answer: the ground truth: text (free_form), a letter (choice), "yes" or "no" (yes_no).
        kind: how the answer is extracted and graded.
        choices: texts of the choices, in the order of the prompt.
        images: the images.
        subject: group of the breakdown by subject.
        level: group of the breakdown by level.
        error: absolute tolerance, stated by the benchmark.
        exact: the benchmark's numbers are not rounded; a decimal is correct only if it equals the ground truth.
        cluster: name shared by questions about one problem or image, whose answers are not independent. If it is
            empty, questions with the same images form a cluster (`cluster_of`).
        groups: values for the benchmark's own metrics.
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
        """Return the question as a Problem; `where` is "<file>:<row>" for messages."""
        return Problem(where, self.text, self.answer, self.images, keys=Keys("question", "answer", "image"))

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values, with the SHA-256 of each image in its place."""
        values = asdict(self)
        values["choices"] = list(self.choices)
        values["images"] = [_digest(image) for image in self.images]
        if not self.cluster:  # keeps the digests from before questions had clusters
            del values["cluster"]
        return values


def from_record(record: Mapping[str, Any]) -> Question:
    """Return the question of a `Question.record()`, without its images."""
    return Question(**{**record, "choices": tuple(record["choices"]), "images": (), "cluster": cluster_of(record)})


def cluster_of(record: Mapping[str, Any]) -> str:
    """Return the cluster of a `Question.record()`: the benchmark's, else its images; "" if it has neither."""
    return record.get("cluster") or " ".join(record.get("images", ()))


def cluster_numbers(clusters: Sequence[str]) -> list[int]:
    """Number the clusters 0 to C - 1 in order of appearance.

    Args:
        clusters: (Q,) `Question.cluster`. Each empty name is a separate cluster.

    Returns:
        (Q,) number of each question's cluster.
    """
    numbers: dict[str | int, int] = {}
    return [numbers.setdefault(cluster or index, len(numbers)) for index, cluster in enumerate(clusters)]


def records_sha256(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of questions, answers and images, from `Question.record()`s or from the file of these."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class GradedQuestion:
    """A question with its n graded responses.

    Attributes:
        question: the question.
        answers: (n,) extracted answers; None for a response without an answer.
        correct: (n,) verdicts of the chosen grader, `--grader`.
        truncated: (n,) whether the response reached the length limit.
        tokens: (n,) length of the response.
    """

    question: Question
    answers: tuple[str | None, ...]
    correct: tuple[bool, ...]
    truncated: tuple[bool, ...]
    tokens: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """Share of the n responses that are correct."""
        return sum(self.correct) / len(self.correct)


Verdicts = Sequence[tuple[Question, bool]]
"""Questions, each with the verdict on one response."""


def over_samples(graded: Sequence[GradedQuestion], metric: Callable[[Verdicts], dict[str, float]]) -> dict[str, float]:
    """Compute a metric from the first response to every question, from the second, ..., and average its values.

    A metric over several questions, such as whether all of them are correct, needs one response to each. Values of
    type int are counts and are not averaged.
    """
    samples = min(len(one.correct) for one in graded)
    values = [metric([(one.question, one.correct[sample]) for one in graded]) for sample in range(samples)]
    return {
        name: first if isinstance(first, int) else sum(value[name] for value in values) / samples
        for name, first in values[0].items()
    }


def all_correct_share(verdicts: Verdicts, *keys: str) -> float:
    """Return the share of groups whose questions are all correct; `keys` of `Question.groups` define the groups."""
    groups: dict[tuple[str, ...], bool] = {}
    for question, correct in verdicts:
        group = tuple(question.groups[key] for key in keys)
        groups[group] = groups.get(group, True) and correct
    return sum(groups.values()) / len(groups)


@dataclass(frozen=True)
class Hub:
    """Location of the official file on the Hugging Face hub."""

    name: str
    split: str
    config: str | None = None

    def __str__(self) -> str:
        return f"{self.name}{f' ({self.config})' if self.config else ''}@{self.split}"


@dataclass(frozen=True)
class Edition:
    """A published form of a benchmark's file.

    Attributes:
        name: name of the edition.
        size: number of questions.
        marks: columns that distinguish it from the benchmark's other editions.
        words: words from one of its questions, needed if another benchmark has the same columns and size.
    """

    name: str
    size: int
    marks: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a benchmark's file.

    Attributes:
        values: the cells by column.
        number: row number, from 0.
        where: "<file>, row <n>" for messages.
        folder: folder of the file; None for a file from the hub.
        seed: seed of the order of choices.
    """

    values: Mapping[str, Any]
    number: int
    where: str
    folder: Path | None
    seed: int


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: its name for `--bench`.
        title: its full name.
        hub: the official file.
        files: glob patterns of the file below a local data folder, in order of preference.
        editions: published forms of the file, the official one first. A file is of the first edition whose `marks` it
            has; editions with the same marks are told apart by `size`.
        columns: required columns; a tuple stands for any one of its names.
        read: converts a row to a question.
        samples: responses to each question in the paper's protocol (k of avg@k).
        own_metrics: metrics defined by this benchmark, computed from all graded questions.
        images: the questions have images.
        shuffled: the choices are shuffled by the seed.
        note: how answers are graded, for the docs.
    """

    name: str
    title: str
    hub: Hub
    files: tuple[str, ...]
    editions: tuple[Edition, ...]
    columns: tuple[str | tuple[str, ...], ...]
    read: Callable[[Row], Question]
    samples: int = 1
    own_metrics: Callable[[Sequence[GradedQuestion]], dict[str, float]] | None = None
    images: bool = False
    shuffled: bool = False
    note: str = ""

    @property
    def size(self) -> int:
        """Number of questions of the official edition."""
        return self.editions[0].size


def _digest(image: Any) -> str:
    content = image if isinstance(image, bytes) else Path(image).read_bytes()
    return hashlib.sha256(content).hexdigest()
