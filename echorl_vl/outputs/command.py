"""What every command line of ours stands in: a console that lacks characters, fills up or goes away, and Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from echorl_vl.errors import INTERRUPTED
from echorl_vl.outputs.lost_console import forgiving_console
from echorl_vl.outputs.terminal import prepare_console

OUTPUT_LOST = 1

P = ParamSpec("P")


def job(main: Callable[P, int]) -> Callable[P, int]:
    """Frames a `main` whose results lie in files: it goes on without its console, and its exit status is its own."""
    return _framed(main, output_counts=False)


def command(main: Callable[P, int]) -> Callable[P, int]:
    """Frames a `main` that is run for what it prints.

    Its exit status is `OUTPUT_LOST` in the place of 0 where that could not be written (a full disk), but not where the
    reader has left (`| head`).
    """
    return _framed(main, output_counts=True)


def _framed(main: Callable[P, int], output_counts: bool) -> Callable[P, int]:
    @wraps(main)
    def framed(*args: P.args, **kwargs: P.kwargs) -> int:
        prepare_console()
        with forgiving_console() as stdout:
            try:
                status = main(*args, **kwargs)
            except KeyboardInterrupt:
                print("stopped", file=sys.stderr)
                return INTERRUPTED
        return OUTPUT_LOST if output_counts and status == 0 and stdout.has_failed else status

    return framed
