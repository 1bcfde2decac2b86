"""The original Geometry3K release as parquet in the schema of the hub's hiyouga/geometry3k.

    echorl convert geometry3k.zip --out data/geometry3k
    echorl convert geometry3k/ --out train.parquet --split train

The release (github.com/lupantech/InterGPS) is a folder <split>/<id>/ with data.json and img_diagram.png, or zips of it.
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
# The hub's set has the annotated text, with its formulas between dollars; the other two are the same text without them.
_TEXTS = ("annotat_text", "problem_text", "compact_text")
_PICTURE = "img_diagram.png"
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One problem's folder. ``read`` gives the bytes of a file in it, and raises UserError if it can't."""

    name: str
    split: str | None
    read: Callable[[str], bytes]


def convert(source: str | Path, out: str | Path, split: str | None = None, on_error: str = "stop") -> dict[str, int]:
    """Convert the release at ``source`` (folder or zip) and return the number of problems written for each split.

    ``out`` is a parquet file for one split, or a folder that gets one file for each split. Nothing is written unless
    everything was converted; ``on_error="skip"`` leaves bad entries out and prints each to stderr.
    Raises UserError if there is nothing to convert, and with "stop" for bad entries, every one named.
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
        logger.warning("%s: left out %d of %d problems:\n%s", source, len(faults), total, listing)
    if not rows:
        wanted = f" of the split {split}" if split else ""
        raise UserError(f"{source}: no problems{wanted}; expected folders <split>/<id>/ with data.json and {_PICTURE}")
    if single and len(rows) > 1:
        found = ", ".join(f"{name} ({len(some)})" for name, some in rows.items())
        raise UserError(f"{source}: has {found}: name one with --split, or give --out a folder for a file each")
    _write({out if single else out / f"{name}.parquet": some for name, some in rows.items()})
    return {name: len(some) for name, some in rows.items()}


def _convert_entries(source: Path, split: str | None) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Rows by split, in the order of their ids, and what is wrong with the entries that give none."""
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
                raise UserError(f"{entry.name}: the id {row['id']} is that of {first} too")
        except UserError as error:
            faults.append(str(error))
            continue
        if split in (None, row["split"]):
            rows.setdefault(row["split"], []).append(row)
    ordered = {name: sorted(rows[name], key=lambda row: row["id"]) for name in SPLITS if name in rows}
    return ordered, faults


def convert_entry(entry: Entry) -> dict[str, Any]:
    """The row of one problem: id, images, problem, answer (the value of the correct choice), choices, split.

    Raises UserError, naming entry and field, if it can't be one.
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
        raise UserError(f"{entry.name}, {_TEXTS[0]}: no text of the problem, nor in {' or '.join(_TEXTS[1:])}")
    if IMAGE in text:
        raise UserError(f"{entry.name}, {_TEXTS[0]}: has {IMAGE}, which stands for the picture")
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
        raise UserError(f"{entry.name}, choices: the correct one, {letter.strip()}, is empty")
    picture = entry.read(_PICTURE)
    open_image(picture, f"{entry.name}, {_PICTURE}")
    return {
        "id": int(identity),
        "images": [{"bytes": picture, "path": f"{identity}.png"}],
        "problem": f"{IMAGE}{text}",
        "answer": answer,
        "choices": choices,
        "split": split,
    }


def read_entries(source: Path) -> Iterator[Entry]:
    """The problems' folders of a release: a folder, a zip, or a folder of zips. Nothing is unpacked to disk.

    Raises UserError if ``source`` is none of these.
    """
    if source.is_dir():
        found = sorted(source.rglob("data.json"))
        if not found:
            for archive in sorted(source.glob("*.zip")):
                yield from _zip_entries(archive)
        for file in found:
            # The folder given may itself be the split's.
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
        raise UserError(f"{source}: not a folder, nor a zip that can be read: {error}") from error
    with archive:
        for name in sorted(archive.namelist()):
            path = PurePosixPath(name)
            if path.name == "data.json" and "__MACOSX" not in path.parts:
                read = partial(_read_member, archive, path.parent, f"{source}/{path.parent}")
                yield Entry(f"{source}/{path.parent}", _split_of((source.stem, *path.parts)), read)


def _split_of(parts: tuple[str, ...]) -> str | None:
    """Split named by the folder above the problem's own; ``parts`` ends in <id>, data.json."""
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
            raise UserError(f"{label}, {name}: {member.file_size} bytes; at most {_MAX_BYTES} are read")
        return archive.read(member)
    except KeyError as error:
        raise UserError(f"{label}, {name}: No such file or directory") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{label}, {name}: can't be unpacked: {error}") from error


def _load_json(entry: Entry) -> dict[str, Any]:
    try:
        data = json.loads(entry.read("data.json").decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{entry.name}, data.json: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{entry.name}, data.json: expected an object, got {type(data).__name__}")
    return data


def _write(tables: dict[Path, list[dict[str, Any]]]) -> None:
    """Write every table beside its place, then move them all there: no file is ever half of one."""
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
    """The command line; returns the exit status (2 for an error of the user's)."""
    parser = make_parser("convert", "geometry3k.convert", __doc__)
    parser.add_argument("source", help="folder or zip of the original release")
    parser.add_argument("--out", required=True, help="a .parquet file, or a folder for one file a split")
    parser.add_argument("--split", choices=sorted(_SPLIT_NAMES), help="convert this split only (default: all)")
    parser.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop", help="what bad problems do (default: stop)"
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
