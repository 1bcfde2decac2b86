"""Convert the original Geometry3K release to parquet files in the schema of the hub's hiyouga/geometry3k.

    echorl convert geometry3k.zip --out data/geometry3k
    echorl convert geometry3k/ --out train.parquet --split train

The release (github.com/lupantech/InterGPS) has folders <split>/<id>/ with data.json and img_diagram.png, or zips of
them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import datasets

from echorl_vl.data.images import open_image
from echorl_vl.data.templates import IMAGE
from echorl_vl.errors import UserError, settings_called
from echorl_vl.outputs.atomic import replacing
from echorl_vl.outputs.command import job, make_parser, parse_arguments
from echorl_vl.outputs.log import is_quiet
from echorl_vl.outputs.terminal import visible

logger = logging.getLogger("echorl_vl.generators.geometry3k.convert")  # __name__ is __main__ under python -m

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
# The hub's data set has the annotated text, with formulas between dollars; the others are the same without dollars.
_TEXTS = ("annotat_text", "problem_text", "compact_text")
_IMAGE_FILE = "img_diagram.png"
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """The folder of a problem. `read` returns the content of a file in it, or raises UserError."""

    name: str
    split: str | None
    read: Callable[[str], bytes]


def convert(source: str | Path, out: str | Path, split: str | None = None, on_error: str = "stop") -> dict[str, int]:
    """Convert a release.

    Args:
        source: folder or zip of the release.
        out: a parquet file for one split, or a folder for one file per split.
        split: convert this split only.
        on_error: "stop" writes nothing if an entry is invalid; "skip" leaves invalid entries out and prints them.

    Returns:
        The number of problems by split.

    Raises:
        UserError: an argument is invalid, there is nothing to convert, or (with "stop") entries are invalid; names all
            of them.
    """
    if on_error not in ("stop", "skip"):
        raise UserError(f"--on-error {on_error}: expected stop or skip")
    if split is not None and split not in _SPLIT_NAMES:
        raise UserError(f"--split {split}: expected one of {', '.join(_SPLIT_NAMES)}")
    source, out = Path(source), Path(out)
    single = out.suffix == ".parquet" and not out.is_dir()
    if out.suffix and not single and not out.is_dir():
        raise UserError(f"--out {out}: expected a file ending in .parquet, or a folder")
    rows, faults = _convert_entries(source, None if split is None else _SPLIT_NAMES[split])
    if faults:
        listing = "\n".join(f"  {fault}" for fault in faults)
        total = len(faults) + sum(map(len, rows.values()))
        if on_error == "stop" or not rows:
            raise UserError(f"{source}: {len(faults)} of {total} problems can't be converted:\n{listing}")
        logger.warning("%s: skipped %d of %d problems:\n%s", source, len(faults), total, listing)
    if not rows:
        of_split = f" of the split {split}" if split else ""
        raise UserError(
            f"{source}: no problems{of_split}; expected folders <split>/<id>/ with data.json and {_IMAGE_FILE}"
        )
    if single and len(rows) > 1:
        sizes = ", ".join(f"{name} ({len(split_rows)})" for name, split_rows in rows.items())
        raise UserError(
            f"{source}: expected one split for --out {out}, got {sizes}: add --split, or set --out to a folder"
        )
    _write({out if single else out / f"{name}.parquet": split_rows for name, split_rows in rows.items()})
    return {name: len(split_rows) for name, split_rows in rows.items()}


def _convert_entries(source: Path, split: str | None) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Return the rows by split in the order of their ids, and the errors of invalid entries."""
    rows: dict[str, list[dict[str, Any]]] = {}
    faults: list[str] = []
    names: dict[tuple[str, int], str] = {}
    for entry in read_entries(source):
        if split is not None and entry.split not in (split, None):
            continue
        try:
            row = convert_entry(entry)
            first = names.setdefault((row["split"], row["id"]), entry.name)
            if first != entry.name:
                raise UserError(f"{entry.name}: expected a unique id, got {row['id']}, which is also the id of {first}")
        except UserError as error:
            faults.append(str(error))
            continue
        if split in (None, row["split"]):
            rows.setdefault(row["split"], []).append(row)
    ordered = {name: sorted(rows[name], key=lambda row: row["id"]) for name in SPLITS if name in rows}
    return ordered, faults


def convert_entry(entry: Entry) -> dict[str, Any]:
    """Convert an entry to a row: id, images, problem, answer (the value of the correct choice), choices, split.

    Raises:
        UserError: the entry is invalid; names entry and field.
    """
    data = _load_json(entry)
    split = entry.split or _SPLIT_NAMES.get(str(data.get("data_type")))
    if split is None:
        raise UserError(f"{entry.name}, data_type: expected {', '.join(_SPLIT_NAMES)}, got {data.get('data_type')!r}")
    identity = data.get("id", PurePosixPath(entry.name).name)
    if not re.fullmatch(r"\d{1,18}", str(identity)):
        raise UserError(f"{entry.name}, id: expected a whole number, got {identity!r}")
    text = next((data[key].strip() for key in _TEXTS if isinstance(data.get(key), str) and data[key].strip()), None)
    if text is None:
        fields = " or ".join(_TEXTS[1:])
        raise UserError(f"{entry.name}, {_TEXTS[0]}: expected text here or in {fields}, got none")
    if IMAGE in text:
        raise UserError(f"{entry.name}, {_TEXTS[0]}: expected text without {IMAGE}, which marks the image")
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UserError(f"{entry.name}, choices: expected a list of answers, got {choices!r}")
    choices = [str(choice).strip() for choice in choices]
    letter = data.get("answer")
    allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)]
    if not isinstance(letter, str) or len(letter.strip()) != 1 or letter.strip() not in allowed:
        raise UserError(f"{entry.name}, answer: expected one of {', '.join(allowed)}, got {letter!r}")
    answer = choices[allowed.index(letter.strip())]
    if not answer:
        raise UserError(f"{entry.name}, choices: the correct choice, {letter.strip()}, is empty")
    image = entry.read(_IMAGE_FILE)
    open_image(image, f"{entry.name}, {_IMAGE_FILE}")
    return {
        "id": int(identity),
        "images": [{"bytes": image, "path": f"{identity}.png"}],
        "problem": f"{IMAGE}{text}",
        "answer": answer,
        "choices": choices,
        "split": split,
    }


def read_entries(source: Path) -> Iterator[Entry]:
    """Yield the entries of a release: a folder, a zip, or a folder of zips. Zips are not unpacked to disk.

    Raises:
        UserError: `source` is none of these.
    """
    if source.is_dir():
        files = sorted(source.rglob("data.json"))
        if not files:
            for archive in sorted(source.glob("*.zip")):
                yield from _zip_entries(archive)
        for file in files:
            # `source` may be the folder of a split.
            parts = (source.resolve().name, *file.relative_to(source).parts)
            yield Entry(str(file.parent), _split_of(parts), partial(_read_file, file.parent))
    elif source.is_file():
        yield from _zip_entries(source)
    else:
        raise UserError(f"{source}: no such file or folder")


def _zip_entries(source: Path) -> Iterator[Entry]:
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{source}: expected a folder or a readable zip: {error}") from error
    with archive:
        for name in sorted(archive.namelist()):
            path = PurePosixPath(name)
            if path.name == "data.json" and "__MACOSX" not in path.parts:
                read = partial(_read_member, archive, path.parent, f"{source}/{path.parent}")
                yield Entry(f"{source}/{path.parent}", _split_of((source.stem, *path.parts)), read)


def _split_of(parts: tuple[str, ...]) -> str | None:
    """Return the split named by the parent folder of the problem; `parts` ends in <id>, data.json."""
    return _SPLIT_NAMES.get(parts[-3].lower()) if len(parts) > 2 else None


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise UserError(f"{folder}, {name}: {error.strerror}") from error


def _read_member(archive: zipfile.ZipFile, folder: PurePosixPath, label: str, name: str) -> bytes:
    try:
        member = archive.getinfo(str(folder / name))
        if member.file_size > _MAX_BYTES:
            raise UserError(f"{label}, {name}: expected at most {_MAX_BYTES} bytes, got {member.file_size}")
        return archive.read(member)
    except KeyError as error:
        raise UserError(f"{label}, {name}: No such file or directory") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{label}, {name}: can't be unpacked: {error}") from error


def _load_json(entry: Entry) -> dict[str, Any]:
    try:
        data = json.loads(entry.read("data.json").decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{entry.name}, data.json: expected JSON: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{entry.name}, data.json: expected an object, got {type(data).__name__}")
    return data


def _write(tables: dict[Path, list[dict[str, Any]]]) -> None:
    """Write all tables to temporary files, then move them into place, so that no file is incomplete."""
    text = datasets.Value("string")
    features = datasets.Features(
        id=datasets.Value("int64"), images=[datasets.Image()], problem=text, answer=text, choices=[text], split=text
    )
    with contextlib.ExitStack() as stack:
        for place, rows in tables.items():
            unfinished = stack.enter_context(replacing(place, durable=False))
            datasets.Dataset.from_list(rows, features=features).to_parquet(str(unfinished))


@job
def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit status (2 for an invalid argument or input)."""
    parser = make_parser("convert", "geometry3k.convert", __doc__)
    parser.add_argument("source", help="folder or zip of the original release")
    parser.add_argument("--out", required=True, help="a .parquet file, or a folder for one file per split")
    parser.add_argument("--split", choices=sorted(_SPLIT_NAMES), help="convert this split only (default: all)")
    parser.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop", help="how to handle invalid problems (default: stop)"
    )
    options = parse_arguments(parser, arguments)
    datasets.disable_progress_bars()
    with settings_called({"trainer.save_checkpoint_path": "--out"}):
        counts = convert(options.source, options.out, options.split, options.on_error)
    for name, count in counts.items():
        if not is_quiet():
            print(f"{visible(str(name))}: {count} problems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
