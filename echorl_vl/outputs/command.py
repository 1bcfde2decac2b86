"""What every command line of ours stands in: its name, mistakes, Ctrl-C, and a console that may fill up or go away.

A `UserError` is printed without a traceback. A reader that has left (`| head -1`), a full disk behind `> log` or a
closed descriptor (`>&-`) must never end a run: what stdout or stderr can't take is dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TextIO

from echorl_vl.errors import INTERRUPTED, USAGE_ERROR, UserError
from echorl_vl.outputs.terminal import prepare_console, print_error, visible

OUTPUT_LOST = 1

LOG_FLAGS = {
    "--quiet": "show warnings and errors only, and no progress",
    "--verbose": "show debug messages too",
}

P = ParamSpec("P")


def program(name: str, module: str) -> str:
    """What the user types for a command, as it was typed this time: `echorl NAME` or `python -m MODULE`."""
    return f"echorl {name}" if Path(sys.argv[0]).stem == "echorl" else f"python -m {module}"


def make_parser(name: str, module: str, about: str) -> argparse.ArgumentParser:
    """The parser of a command, under the name that was typed; the first line of `about` says what the command does."""
    parser = argparse.ArgumentParser(prog=program(name, module), description=about.split("\n")[0])
    add_log_flags(parser)
    return parser


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--quiet` and `--verbose`, which `parse_arguments` obeys."""
    flags = parser.add_mutually_exclusive_group()
    for flag, about in LOG_FLAGS.items():
        flags.add_argument(flag, action="store_true", help=about)


def parse_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses options and positional arguments, in any order, and sets up the log."""
    options = parser.parse_intermixed_args(arguments)
    set_log_level(options.quiet, options.verbose)
    return options


def set_log_level(quiet: bool, verbose: bool) -> None:
    """Shows the log of this package on stderr: warnings and errors, notes as well, or everything."""
    from echorl_vl.outputs.log import set_up_logging  # imports rich, which `echorl init` does without

    set_up_logging(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {visible(text)!r}")
    return int(text)


def job(main: Callable[P, int]) -> Callable[P, int]:
    """Frames a `main` whose results lie in files: it goes on without its console.

    Its exit status is its own, `USAGE_ERROR` after a `UserError`, or `INTERRUPTED`.
    """
    return _framed(main, output_counts=False)


def command(main: Callable[P, int]) -> Callable[P, int]:
    """Frames a `main` that is run for what it prints.

    As `job`, but its exit status is `OUTPUT_LOST` in the place of 0 where that could not be written (a full disk), but
    not where the reader has left (`| head`).
    """
    return _framed(main, output_counts=True)


def _framed(main: Callable[P, int], output_counts: bool) -> Callable[P, int]:
    @wraps(main)
    def framed(*args: P.args, **kwargs: P.kwargs) -> int:
        prepare_console()
        with forgiving_console() as stdout:
            try:
                status = main(*args, **kwargs)
            except UserError as error:
                print_error(error)
                logging.getLogger(__name__).debug("raised here:", exc_info=True)
                return USAGE_ERROR
            except KeyboardInterrupt:
                print("stopped", file=sys.stderr)
                return INTERRUPTED
        return OUTPUT_LOST if output_counts and status == 0 and stdout.has_failed else status

    return framed


@contextlib.contextmanager
def forgiving_console() -> Iterator[ForgivingStream]:
    """While it is entered no write to `sys.stdout` or `sys.stderr` raises. Gives the stream of stdout.

    A stream that fails is led to the null device for good, for child processes as well, so that nothing is left to fail
    when the interpreter ends. Its loss is said on stderr, where that still works.
    """
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams = ForgivingStream(before[0], "stdout"), ForgivingStream(before[1], "stderr")
    try:
        yield streams[0]
    finally:
        for stream in streams:
            stream.flush()  # what the buffer holds fails here, not at the end of the process
        sys.stdout, sys.stderr = before


class ForgivingStream:
    """A text stream, None for one that was closed from the start, whose writes never raise.

    `has_failed`: whether something could not be written, other than because its reader has left.
    """

    def __init__(self, stream: TextIO | None, name: str) -> None:
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
        self._name, self._lost, self.has_failed = name, False, False

    def write(self, text: str) -> int:
        with self._forgiven():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._forgiven():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except (BlockingIOError, UnicodeError):  # a reader that is slow for now, a text that can't be encoded
            pass
        except (OSError, ValueError) as error:
            if not self._lost:
                self._lost, self.has_failed = True, not isinstance(error, BrokenPipeError)
                self._lead_to_null()
                if self._name == "stdout":
                    why = getattr(error, "strerror", None) or error
                    print(f"stdout can't be written ({why}): it goes on without", file=sys.stderr)

    def _lead_to_null(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def _occupy_closed_descriptors() -> None:
    """Leads closed ones of 0, 1 and 2 to the null device: else the next file that is opened would become stdout."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this very descriptor
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            else:
                os.set_inheritable(descriptor, True)
