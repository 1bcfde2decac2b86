"""Upper bounds of the schema's numbers and texts: far beyond any run, and below what would hang, overflow or fill the
machine.

A number without a bound is found minutes later, as a MemoryError, an OverflowError or a run that never starts.
"""

from __future__ import annotations

import os
import unicodedata

MOST_TOKENS = 2**20  # the longest contexts that models of this kind are trained for
MOST_ROWS = 10_000_000  # prompts or rollouts in a batch
MOST_PROCESSES = 1024  # worker processes on one machine
MOST_DEVICES = 100_000  # GPUs in a cluster
MOST_SEED = 2**63 - 1  # torch and vLLM take seeds of 64 bits with a sign
BILLION = 10**9  # counters that cost nothing, in which people write a large number for "no limit"
LARGE = 10**6  # weights, temperatures, bounds of rewards and ratios
MOST_DIGITS = 400  # of a whole number in a file: more is no float, and Python refuses to print 4300
LONGEST_TEXT = 10_000  # characters of a text
LONGEST_PATH = 4096  # bytes of a path (PATH_MAX)
LONGEST_NAME = 255  # bytes of a part of a path (NAME_MAX)
MOST_ITEMS = 100  # of a list


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
