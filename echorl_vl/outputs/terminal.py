"""What may reach a terminal: text that others wrote is shown and never obeyed, and a console that lacks a character
gets something like it.

Model output, questions, file names and the errors of reward functions hold what their authors like: sequences that
clear the screen, set the title or hide text. All that is printed or drawn goes through `visible`.
"""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import Any

_KEPT = "\n\t"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (bidirectional, zero-width), surrogates, line separators
# Characters of other categories that have no width or no ink: fillers, joiners, variation selectors but those of emoji.
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0}
_INVISIBLE |= {*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)}

# What stands for a character of our own output on a console that can't encode it.
_LIKE = {"±": "+-", "─": "-", "━": "=", "│": "|", "└": "`", "•": "*", "→": "->", "✓": "y", "✗": "n", "°": " deg"}
_LIKE |= dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
_HANDLER = "echorl_vl.plain"


def visible(text: str) -> str:
    """`text` with every character that a terminal obeys or hides as an escape: "\\x1b", "\\u202e", "\\u200b".

    Newlines and tabs stay. Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if _is_hidden(char) else char for char in text)


def prepare_console() -> None:
    """Makes stdout and stderr take every character: one that they can't encode becomes something like it, or an escape.

    For the start of a command line. Streams that can't be changed (closed, of a test) stay as they are.
    """
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)


def print_error(error: Any) -> None:
    """The line that a command ends with where something is the user's to mend."""
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
