"""Places that a configuration names: problem sets (one or several, each with a split), files and folders.

A relative path is looked up in this order: the working directory, the folder of the configuration file, the folder
that holds the `echorl_vl` package (so that `echorl_vl/tiny/model` works from anywhere). What exists in none of them
stays as it is: a hub id, or a mistake that the checks report.
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
    """The places that ``spec`` lists, each as PLACE or PLACE@SPLIT: a list, or text with commas between them.

    Text that is the path of something that exists is one place, commas or not.
    """
    if not isinstance(spec, str):
        return [place for each in spec for place in split_places(each)]
    whole = "," not in spec or exists(spec) or is_url(spec)
    places = [local_path(place.strip()) for place in ([spec] if whole else spec.split(","))]
    return [place for place in places if place]


def split_of_place(place: str) -> tuple[str, str]:
    """(place, split); the split is train where none is named. Raises UserError where a part is empty."""
    if exists(place) or "@" not in place:
        return place, "train"
    name, _, split = place.rpartition("@")
    if not name or not split:
        raise UserError(f"{place}: expected PLACE or PLACE@SPLIT, for example hiyouga/geometry3k@train")
    return name, split


def matches(pattern: str) -> list[str] | None:
    """The paths that a pattern with ``*``, ``?`` or ``[...]`` matches, in order of their names; None for no pattern."""
    pattern = str(Path(pattern).expanduser())
    return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else None


def exists(place: str) -> bool:
    """Whether there is a file or folder of this name."""
    try:
        return Path(place).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name too long, one with NUL, an unknown ~user
        return False


def local_path(text: str) -> str:
    """A path without the ``file://`` or ``file://localhost`` of a URL of this machine; other text as it is."""
    path = text.removeprefix("file://")
    return path.removeprefix("localhost") if path != text and path.startswith("localhost/") else path


def is_url(text: str) -> bool:
    """Whether a text is a URL or a data URI, and no path (file:// is one)."""
    return _URL.match(text) is not None and not text.startswith("file://")


def unsupported_url(text: str, advice: str) -> str:
    """What is said of a URL in the place of a file."""
    kind = "a data URI" if text.startswith("data:") else "a URL"
    return f"{shorten(text, 80)} is {kind}, which is unsupported: {advice}"


def search_folders(config_folder: str | Path | None = None) -> list[Path]:
    """The folders that relative paths are looked up in, in order, without repeats."""
    folders = [Path.cwd(), *([Path(config_folder).resolve()] if config_folder is not None else []), PACKAGE_HOME]
    return list(dict.fromkeys(folders))


def find_path(value: str, config_folder: str | Path | None = None) -> str | None:
    """The absolute path that `value` names, or None where nothing exists there."""
    if not value or "\0" in value:
        return None
    try:
        path = Path(value).expanduser()
        for folder in search_folders(config_folder):
            if (folder / path).exists():  # an absolute path swallows the folder
                return os.path.abspath(folder / path)
    except (OSError, RuntimeError):  # a name too long for the file system, or an unknown ~user
        return None
    return None


def split_suffix(value: str, mark: str) -> tuple[str, str]:
    """("path", "@split") at the last `mark`; the suffix is empty where there is none."""
    head, found, tail = value.rpartition(mark)
    return (head, found + tail) if found else (value, "")


def resolve_function(value: str, config_folder: str | Path | None = None) -> str:
    """`path.py:function` with the absolute path, where the file exists; any other text as it is."""
    head, suffix = split_suffix(value, ":")
    found = find_path(head, config_folder) if suffix else None
    return found + suffix if found else find_path(value, config_folder) or value


def resolve_problems(value: str | Sequence[str], config_folder: str | Path | None = None) -> str | list[str]:
    """Places of problems with absolute paths, as a list if they came as one."""
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
    """The absolute pattern where it matches something."""
    candidates = [os.path.join(folder, os.path.expanduser(pattern)) for folder in search_folders(config_folder)]
    return next((candidate for candidate in candidates if matches(candidate)), None)
