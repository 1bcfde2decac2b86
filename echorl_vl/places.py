"""Parses the places of problem sets, as in `data.train_files`, and resolves relative paths.

A relative path is looked up in the working directory, then in the folder of the configuration file, then in the folder
that contains the `echorl_vl` package (so that `echorl_vl/tiny/model` works from any directory). A path that exists in
none of them is returned unchanged: it is a hub id, or an error that the checks report.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

import echorl_vl
from echorl_vl.errors import UserError, shorten

PACKAGE_HOME = Path(echorl_vl.__file__).resolve().parent.parent

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:[\w.+-]*/?[\w.+-]*[;,]")


def split_places(spec: str | Sequence[str]) -> list[str]:
    """Splits a list of places, each PLACE or PLACE@SPLIT.

    Args:
        spec: a list, or text with commas. Text that is an existing path is one place, even if it has commas.
    """
    if not isinstance(spec, str):
        return [place for each in spec for place in split_places(each)]
    whole = "," not in spec or exists(spec) or is_url(spec)
    places = [local_path(place.strip()) for place in ([spec] if whole else spec.split(","))]
    return [place for place in places if place]


def split_of_place(place: str) -> tuple[str, str]:
    """Splits PLACE@SPLIT into its parts; the default split is train.

    Raises:
        UserError: a part is empty.
    """
    if exists(place) or "@" not in place:
        return place, "train"
    name, _, split = place.rpartition("@")
    if not name or not split:
        raise UserError(f"{place}: expected PLACE or PLACE@SPLIT, for example hiyouga/geometry3k@train")
    return name, split


def matches(pattern: str) -> list[str] | None:
    """The sorted paths that match a pattern with `*`, `?` or `[...]`; None if the text is not a pattern."""
    pattern = str(Path(pattern).expanduser())
    return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else None


def exists(place: str) -> bool:
    """Whether a file or folder of this name exists."""
    try:
        return Path(place).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name too long, one with NUL, an unknown ~user
        return False


def local_path(text: str) -> str:
    """Removes `file://` or `file://localhost` from a path; returns other text unchanged."""
    path = text.removeprefix("file://")
    return path.removeprefix("localhost") if path != text and path.startswith("localhost/") else path


def is_url(text: str) -> bool:
    """Whether a text is a URL or a data URI. `file://` counts as a path."""
    return _URL.match(text) is not None and not text.startswith("file://")


def unsupported_url(text: str, advice: str) -> str:
    """The error message for a URL in the place of a file."""
    kind = "a data URI" if text.startswith("data:") else "a URL"
    return f"{shorten(text, 80)} is {kind}, which is unsupported: {advice}"


def search_folders(config_folder: str | Path | None = None) -> list[Path]:
    """The folders in which relative paths are looked up, in order, without duplicates."""
    folders = [Path.cwd(), *([Path(config_folder).resolve()] if config_folder is not None else []), PACKAGE_HOME]
    return list(dict.fromkeys(folders))


def find_path(value: str, config_folder: str | Path | None = None) -> str | None:
    """The absolute path of `value`; None if it does not exist."""
    if not value or "\0" in value:
        return None
    try:
        path = Path(value).expanduser()
        for folder in search_folders(config_folder):
            if (folder / path).exists():  # the folder has no effect on an absolute path
                return os.path.abspath(folder / path)
    except (OSError, RuntimeError):  # a name too long for the file system, or an unknown ~user
        return None
    return None


def split_suffix(value: str, mark: str) -> tuple[str, str]:
    """Splits ("path", "@split") at the last `mark`; without one, the suffix is empty."""
    head, found, tail = value.rpartition(mark)
    return (head, found + tail) if found else (value, "")


def resolve(value: str | Sequence[str], kind: str, config_folder: str | Path) -> str | Sequence[str]:
    """The value of a key that holds places of a kind (`config.fields.Place`), with absolute paths of what exists."""
    if kind == "problems":
        return resolve_problems(value, config_folder)
    if kind == "function":
        return resolve_function(value, config_folder)
    if kind == "input":
        return find_path(value, config_folder) or value
    return value  # an output: nothing is looked up


def resolve_function(value: str, config_folder: str | Path | None = None) -> str:
    """`path.py:function` with the absolute path, if the file exists; other text unchanged."""
    head, suffix = split_suffix(value, ":")
    found = find_path(head, config_folder) if suffix else None
    return found + suffix if found else find_path(value, config_folder) or value


def resolve_problems(value: str | Sequence[str], config_folder: str | Path | None = None) -> str | list[str]:
    """The places of problem sets with absolute paths; a list stays a list."""
    if not isinstance(value, str):
        return [_resolve_place(place, config_folder) for place in value]
    if find_path(value, config_folder):  # a path with commas in it
        return _resolve_place(value, config_folder)
    return ",".join(_resolve_place(place, config_folder) for place in split_places(value))


def _resolve_place(place: str, config_folder: str | Path | None) -> str:
    whole = find_path(place, config_folder)
    if whole is not None:
        return whole
    head, suffix = split_suffix(place, "@")
    found = find_path(head, config_folder) or _find_pattern(head or place, config_folder)
    return found + suffix if found else place


def _find_pattern(pattern: str, config_folder: str | Path | None) -> str | None:
    """The absolute pattern, if it matches a file."""
    candidates = [os.path.join(folder, os.path.expanduser(pattern)) for folder in search_folders(config_folder)]
    return next((candidate for candidate in candidates if matches(candidate)), None)
