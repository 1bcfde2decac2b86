"""Texts that nothing can be done with: characters that no file system or terminal takes, and endless ones."""

from __future__ import annotations

import os
import unicodedata

from .limits import LONGEST_NAME, LONGEST_PATH, LONGEST_TEXT


def text_fault(value: str, is_path: bool = False) -> str | None:
    """What is wrong with a text of the configuration, in words that follow "expected"; None: nothing.

    A lone surrogate or a control character can be written in YAML (`"\\ud800"`, `"\\0"`) and in no file name.
    """
    limit = LONGEST_PATH if is_path else LONGEST_TEXT
    if len(value.encode("utf-8", "surrogatepass")) > limit:
        return f"at most {limit:,} bytes, got {len(value):,} characters"
    bad = next((letter for letter in value if unicodedata.category(letter) in ("Cc", "Cs")), None)
    if bad is not None:
        return f"no control characters and no lone surrogates, got U+{ord(bad):04X}"
    if is_path and any(len(part.encode()) > LONGEST_NAME for part in value.split(os.sep)):
        return f"at most {LONGEST_NAME} bytes between two {os.sep}"
    return None
