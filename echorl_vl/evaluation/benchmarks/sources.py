"""Load and check the questions of a benchmark. No question is skipped: the number has to be the benchmark's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets

from echorl_vl.data.files import SUFFIXES, missing_path, read_file, root_cause
from echorl_vl.data.templates import IMAGE
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Question, Row, records_sha256
from echorl_vl.types import Keys

# `_edition` checks the columns, so `read_file` checks none. It gets the name of the answer column because it reads a
# JSON column with both numbers and text as text.
_ANY_COLUMNS = Keys(prompt="", answer="answer", image="", video="")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


class Questions(Sequence[Question]):
    """The questions of one benchmark, in the order of its file. Each access reads the row again.

    Attributes:
        source: name of the file.
        edition: which published form the file is.
        total: number of questions of the edition; `len` is smaller with `--limit`.
        sha256: SHA-256 of all questions with their answers and images.
        most_images: largest number of images of a question.
    """

    def __init__(self, source: str, edition: Edition, total: int, count: int, read: Callable[[int], Question]) -> None:
        self.source, self.edition, self.total = source, edition, total
        self.sha256, self.most_images = "", 0
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        """Return a question, or a list of questions for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._read(index % self._count)

    def __iter__(self) -> Iterator[Question]:
        return (self._read(index) for index in range(self._count))


def load(benchmark: Benchmark, place: Path | None, seed: int = 0, limit: int | None = None) -> Questions:
    """Load the questions of a benchmark and check each of them.

    Args:
        benchmark: the benchmark.
        place: the file, or a folder to search for it; None for the hub.
        seed: seed of the order of choices, if the benchmark shuffles them.
        limit: number of questions, counted from the first. With a limit the file may be a part of an edition.

    Raises:
        UserError: the file is missing or is not one of this benchmark, its number of questions is not that of an
            edition, a question has no answer or a missing image, or two questions have the same id.
    """
    source, table, folder = _from_hub(benchmark) if place is None else _from_files(benchmark, place)
    edition = _edition(benchmark, source, table, part=limit is not None)
    rows = table.with_format("arrow")

    def read(index: int) -> Question:
        values = rows[index : index + 1].to_pylist()[0]
        return benchmark.read(Row(values, index, f"{source}, row {index}", folder, seed))

    count = len(table) if limit is None else min(limit, len(table))
    questions = Questions(source, edition, edition.size, count, read)
    questions.sha256 = records_sha256(_checked(questions, source))
    whole = len(table) == edition.size
    if whole and edition.words and not any(_contains(read(index).text, edition.words) for index in range(len(table))):
        raise UserError(f"{source}: not {edition.name}: no question contains the words {edition.words!r}")
    return questions


def _contains(text: str, words: str) -> bool:
    """Whether a text contains these words, apart from spaces and punctuation (such as dollar signs)."""
    return re.sub(r"\W", "", words).lower() in re.sub(r"\W", "", text).lower()


def _checked(questions: Questions, source: str) -> Iterator[dict[str, Any]]:
    """Yield the records of all questions and count their images. Reading a question checks its cells."""
    uids: Counter[str] = Counter()
    for index, question in enumerate(questions):
        uids[question.uid] += 1
        if uids[question.uid] > 1:
            raise UserError(f"{source}, row {index}: a second question with the id {question.uid!r}")
        if question.text.count(IMAGE) != len(question.images):
            raise UserError(
                f"{source}, row {index}: {question.text.count(IMAGE)} {IMAGE}, but {len(question.images)} image(s)"
            )
        questions.most_images = max(questions.most_images, len(question.images))
        yield question.record()


def _edition(benchmark: Benchmark, source: str, table: datasets.Dataset, part: bool = False) -> Edition:
    """Find the edition of a table, or the first one that it may be a part of if `part` is set.

    Raises:
        UserError: required columns are missing, or the number of questions is not that of an edition.
    """
    for names in benchmark.columns:
        names = (names,) if isinstance(names, str) else names
        if not any(name in table.column_names for name in names):
            raise UserError(
                f"{source}: not a file of {benchmark.name}: expected a column {' or '.join(names)}, "
                f"got {', '.join(table.column_names)}"
            )
    marks = next(
        (e.marks for e in benchmark.editions if e.marks and set(e.marks) <= set(table.column_names)),
        (),
    )
    alternatives = [edition for edition in benchmark.editions if edition.marks == marks]
    for edition in alternatives:
        if edition.size == len(table):
            return edition
    larger = [edition for edition in alternatives if len(table) < edition.size]
    if part and larger and len(table):
        return larger[0]
    sizes = " or ".join(f"{edition.size} ({edition.name})" for edition in alternatives)
    advice = "; to evaluate a part of the file, marked PARTIAL, give --limit N" if larger and not part else ""
    raise UserError(f"{source}: expected {sizes} questions of {benchmark.name}, got {len(table)}{advice}")


def _from_files(benchmark: Benchmark, place: Path) -> tuple[str, datasets.Dataset, Path]:
    files = _find(benchmark, place)
    tables = [read_file(file, _ANY_COLUMNS) for file in files]
    table = tables[0] if len(tables) == 1 else datasets.concatenate_datasets(tables)
    name = str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} shards)"
    return name, table, files[0].parent


def _find(benchmark: Benchmark, place: Path) -> list[Path]:
    if place.is_file():
        if place.suffix.lower() not in SUFFIXES:
            raise UserError(f"{place}: expected a file with suffix {', '.join(SUFFIXES)}, got '{place.suffix}'")
        return [place]
    if not place.is_dir():
        raise missing_path(place)
    for pattern in benchmark.files:
        found = sorted(path for path in place.glob(pattern) if path.is_file())
        if len(found) > 1 and not all(_SHARD.search(path.stem) for path in found):
            names = ", ".join(str(path.relative_to(place)) for path in found[:4])
            raise UserError(
                f"{place}: several files match {benchmark.name}: {names}; choose one with --data {benchmark.name}=FILE"
            )
        if found:
            return found
    raise UserError(
        f"{place}: no file of {benchmark.name} in this folder; searched for {', '.join(benchmark.files)}. Give it as "
        f"--data {benchmark.name}=FILE, or omit --data to load {benchmark.hub} from the hub"
    )


def _from_hub(benchmark: Benchmark) -> tuple[str, datasets.Dataset, None]:
    hub = benchmark.hub
    try:
        return str(hub), datasets.load_dataset(hub.name, hub.config, split=hub.split), None
    except Exception as error:  # the client raises many types: no network, a gated data set, a full disk
        raise UserError(
            f"{benchmark.name}: can't load {hub} from the Hugging Face hub ({root_cause(error)}). To use a "
            f"local copy, add --data FOLDER or --data {benchmark.name}=FILE"
        ) from error
