"""What `data.train_files` names: one place or several (a list, or commas), each with a split, some by a pattern."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from echorl_vl.errors import UserError, shorten

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
