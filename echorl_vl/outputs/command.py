"""The frame of every command: its name, user errors, Ctrl-C, and a console that fails.

A `UserError` is printed without a traceback. A reader that has exited (`| head -1`), a full disk behind `> log` or a
closed descriptor (`>&-`) never stops a run: output that stdout or stderr can't take is dropped.
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
    "--quiet": "show only warnings and errors",
    "--verbose": "show debug messages too",
}

P = ParamSpec("P")


def program(name: str, module: str) -> str:
    """The command as the user typed it: `echorl NAME` or `python -m MODULE`."""
    return f"echorl {name}" if Path(sys.argv[0]).stem == "echorl" else f"python -m {module}"


def make_parser(name: str, module: str, about: str) -> argparse.ArgumentParser:
    """The parser of a command. Its description is the first line of `about`."""
    parser = argparse.ArgumentParser(prog=program(name, module), description=about.split("\n")[0])
    add_log_flags(parser)
    return parser


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--quiet` and `--verbose`, which `parse_arguments` applies."""
    flags = parser.add_mutually_exclusive_group()
    for flag, about in LOG_FLAGS.items():
        flags.add_argument(flag, action="store_true", help=about)


def parse_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses options and positional arguments, in any order, and sets up the log."""
    options = parser.parse_intermixed_args(arguments)
    set_log_level(options.quiet, options.verbose)
    return options


def set_log_level(quiet: bool, verbose: bool) -> None:
    """Logs to stderr: warnings and errors if `quiet`, everything if `verbose`, else notes too."""
    from echorl_vl.outputs.log import set_up_logging  # here: it imports rich, which `echorl init` doesn't need

    set_up_logging(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def positive(text: str) -> int:
    """Parses a command-line argument: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {visible(text)!r}")
    return int(text)


def job(main: Callable[P, int]) -> Callable[P, int]:
    """Wraps a `main` whose results are files: it continues without a console.

    The exit status is that of `main`, `USAGE_ERROR` after a `UserError`, or `INTERRUPTED`.
    """
    return _framed(main, output_counts=False)


def command(main: Callable[P, int]) -> Callable[P, int]:
    """Wraps a `main` whose result is its output.

    As `job`, but the exit status is `OUTPUT_LOST` instead of 0 if the output could not be written (a full disk). A
    reader that has exited (`| head`) is no failure.
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
    """Within the `with` block, no write to `sys.stdout` or `sys.stderr` raises. Yields the stream of stdout.

    A stream that fails is redirected to the null device for good, also for child processes, so that nothing fails when
    the interpreter exits. A failure of stdout is reported on stderr.
    """
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams = ForgivingStream(before[0], "stdout"), ForgivingStream(before[1], "stderr")
    try:
        yield streams[0]
    finally:
        for stream in streams:
            stream.flush()  # a buffered write fails here, not at the end of the process
        sys.stdout, sys.stderr = before


class ForgivingStream:
    """Wraps a text stream so that its writes never raise. None is a stream that was closed from the start.

    has_failed: whether a write failed for another reason than a reader that has exited.
    """

    def __init__(self, stream: TextIO | None, name: str) -> None:
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
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
        except (BlockingIOError, UnicodeError):  # a slow reader, or a text that can't be encoded
            pass
        except (OSError, ValueError) as error:
            if not self._lost:
                self._lost, self.has_failed = True, not isinstance(error, BrokenPipeError)
                self._lead_to_null()
                if self._name == "stdout":
                    why = getattr(error, "strerror", None) or error
                    print(f"stdout can't be written ({why}): continuing without it", file=sys.stderr)

    def _lead_to_null(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def _occupy_closed_descriptors() -> None:
    """Opens the null device for each closed descriptor of 0 to 2: else the next file opened would become stdout."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this descriptor
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            else:
                os.set_inheritable(descriptor, True)
