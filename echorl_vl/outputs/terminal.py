"""Makes text safe for a terminal: control sequences are escaped, and characters that a console lacks are replaced.

Model output, questions, file names and errors of reward functions can contain sequences that clear the screen, set the
title or hide text. Everything that is printed or plotted goes through `visible`.
"""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import Any

_KEPT = "\n\t"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (bidirectional, zero-width), surrogates, line separators
# Invisible characters of other categories: fillers, joiners, variation selectors except those of emoji.
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0}
_INVISIBLE |= {*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)}

# Replacements for characters of our own output on a console that can't encode them.
_LIKE = {"±": "+-", "─": "-", "━": "=", "│": "|", "└": "`", "•": "*", "→": "->", "✓": "y", "✗": "n", "°": " deg"}
_LIKE |= dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
_HANDLER = "echorl_vl.plain"


def visible(text: str) -> str:
    """Escapes every character that a terminal would interpret or hide: "\\x1b", "\\u202e", "\\u200b".

    Newlines and tabs stay. Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if _is_hidden(char) else char for char in text)


def prepare_console() -> None:
    """Makes stdout and stderr accept every character: what they can't encode is replaced or escaped.

    Call it at the start of a command. Streams that can't be reconfigured (closed ones, those of a test) are left alone.
    """
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)


def print_error(error: Any) -> None:
    """Prints an error that the user can fix, as the last line of a command."""
    print(f"error: {visible(str(error))}", file=sys.stderr)


def _is_hidden(char: str) -> bool:
    if char in _KEPT:
        return False
    return unicodedata.category(char) in _HIDDEN or ord(char) in _INVISIBLE


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_LIKE.get(char) or _escape(char) for char in error.object[error.start : error.end]), error.end
