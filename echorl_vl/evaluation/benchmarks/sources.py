"""From a benchmark and a place to its checked questions. Never a silent skip: N has to be the benchmark's."""

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

# The columns are checked here, against the benchmark's own list, so the reader of files is to check none. It is told of
# answers since a JSON column of numbers and text is text there.
_ANY_COLUMNS = Keys(prompt="", answer="answer", image="", video="")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


class Questions(Sequence[Question]):
    """The questions of one benchmark, in the order of its file; a row is read each time it is asked for.

    `source` names the file, `edition` says which published form it is, `total` is its N; `len` may be less (--limit).
    `sha256` is that of all questions, their answers and pictures; `most_images` the number of pictures of the question
    that has most.
    """

    def __init__(self, source: str, edition: Edition, total: int, count: int, read: Callable[[int], Question]) -> None:
        self.source, self.edition, self.total = source, edition, total
        self.sha256, self.most_images = "", 0
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        """Question `index`; a slice gives a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._read(index % self._count)

    def __iter__(self) -> Iterator[Question]:
        return (self._read(index) for index in range(self._count))


def load(benchmark: Benchmark, place: Path | None, seed: int = 0, limit: int | None = None) -> Questions:
    """The questions of `benchmark`, each of them checked.

    Args:
        place: a folder in which the benchmark's file is looked for, or the file itself; None: the hub.
        seed: of the order of the choices, for a benchmark that shuffles them.
        limit: the first so many questions only. The file then need not be whole: fewer rows than an edition's are a
            part of it, and `total` is the edition's N all the same.

    Raises UserError for a file that isn't there or is another's, an N that is no edition's, a question without an
    answer, a missing picture, two questions with the same id.
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
    if whole and edition.holds and not any(_holds(read(index).text, edition.holds) for index in range(len(table))):
        raise UserError(f"{source}: not {edition.name}: none of its questions has the words {edition.holds!r}")
    return questions


def _holds(text: str, words: str) -> bool:
    """Whether a text has these words, whatever stands between them (spaces, dollar signs)."""
    return re.sub(r"\W", "", words).lower() in re.sub(r"\W", "", text).lower()


def _checked(questions: Questions, source: str) -> Iterator[dict[str, Any]]:
    """Records of all questions, each read once (a row raises for whatever is missing in it); counts their pictures."""
    uids: Counter[str] = Counter()
    for index, question in enumerate(questions):
        uids[question.uid] += 1
        if uids[question.uid] > 1:
            raise UserError(f"{source}, row {index}: a second question with the id {question.uid!r}")
        if question.text.count(IMAGE) != len(question.images):
            raise UserError(
                f"{source}, row {index}: {question.text.count(IMAGE)} {IMAGE} and {len(question.images)} picture(s)"
            )
        questions.most_images = max(questions.most_images, len(question.images))
        yield question.record()


def _edition(benchmark: Benchmark, source: str, table: datasets.Dataset, part: bool = False) -> Edition:
    """The edition that the table is, or with `part` may be a part of: of several the first, the official one.

    Raises UserError for a file of something else or of another N.
    """
    for names in benchmark.columns:
        names = (names,) if isinstance(names, str) else names
        if not any(name in table.column_names for name in names):
            raise UserError(
                f"{source}: not a file of {benchmark.name}: no column {' or '.join(names)}; "
                f"it has {', '.join(table.column_names)}"
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
    advice = "; part of a file is no result: --limit N takes it, marked PARTIAL" if larger and not part else ""
    raise UserError(f"{source}: {len(table)} questions, and {benchmark.name} has {sizes}{advice}")


def _from_files(benchmark: Benchmark, place: Path) -> tuple[str, datasets.Dataset, Path]:
    files = _find(benchmark, place)
    tables = [read_file(file, _ANY_COLUMNS) for file in files]
    table = tables[0] if len(tables) == 1 else datasets.concatenate_datasets(tables)
    name = str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} shards)"
    return name, table, files[0].parent


def _find(benchmark: Benchmark, place: Path) -> list[Path]:
    if place.is_file():
        if place.suffix.lower() not in SUFFIXES:
            raise UserError(f"{place}: '{place.suffix}' is no format of questions; expected {', '.join(SUFFIXES)}")
        return [place]
    if not place.is_dir():
        raise missing_path(place)
    for pattern in benchmark.files:
        found = sorted(path for path in place.glob(pattern) if path.is_file())
        if len(found) > 1 and not all(_SHARD.search(path.stem) for path in found):
            names = ", ".join(str(path.relative_to(place)) for path in found[:4])
            raise UserError(
                f"{place}: several files could be {benchmark.name}: {names}; give one as --data {benchmark.name}=FILE"
            )
        if found:
            return found
    raise UserError(
        f"{place}: no file of {benchmark.name} in this folder; looked for {', '.join(benchmark.files)}. Give it as "
        f"--data {benchmark.name}=FILE, or leave --data out to load {benchmark.hub} from the hub"
    )


def _from_hub(benchmark: Benchmark) -> tuple[str, datasets.Dataset, None]:
    hub = benchmark.hub
    try:
        return str(hub), datasets.load_dataset(hub.name, hub.config, split=hub.split), None
    except Exception as error:  # no network, no access to a gated set, a full disk: the hub's client has one each
        raise UserError(
            f"{benchmark.name}: the Hugging Face hub did not give {hub} ({root_cause(error)}). For a local copy: "
            f"--data FOLDER, or --data {benchmark.name}=FILE"
        ) from error
