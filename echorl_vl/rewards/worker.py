"""The process on the other side of a `GradingPool`: reads requests from its standard input, and answers there.

It is a fresh interpreter, not a fork of the caller: no lock of torch's threads is held in it, the caller's main module
is not run again, and nothing that the caller imported is imported here. Its parent is a `keeper`, which ends it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from echorl_vl.rewards.failures import described, is_exhausted, message_of, name_of
from echorl_vl.rewards.keeper import keep

INSIDE = False  # True in a worker: code that would start a pool of its own grades directly there

HEADER = struct.Struct(">16sQ")
"""Of a message: the random token of its request, which an answer repeats, and the length of the pickle behind it."""
LOST_CHANNEL = 74
"""Exit status of a worker that can't answer any more: the function closed a descriptor that it did not open."""
_LONGEST = 40_000


def main() -> None:
    """Serve the caller, `sys.argv[2]`, until it is gone."""
    sys.exit(keep(_serve, int(sys.argv[2])))


def packed(token: bytes, message: Any) -> bytes:
    """One message as bytes."""
    payload = pickle.dumps(message)
    return HEADER.pack(token, len(payload)) + payload


def _serve() -> int:
    global INSIDE
    INSIDE = True
    channel = socket.socket(fileno=os.dup(0))
    # What user code prints must not get between the messages, and what it reads must not be our requests.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with contextlib.suppress(OSError):  # the caller has no standard error
        os.dup2(2, 1)
    requests, worker, work = channel.makefile("rb"), os.getpid(), _Work()
    try:
        for do in itertools.chain([work.start], itertools.repeat(work.call)):
            token, message = _receive(requests)
            reply = _apply(do, message)
            if os.getpid() != worker:
                return 0  # a fork that the function has made, and that has come back from it
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            channel.sendall(_answer(token, reply))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0
    except OSError:
        pass
    return LOST_CHANNEL


class _Work:
    """What the requests ask for: first that the function is loaded, then that it is called with an item."""

    def start(self, request: tuple[bytes, int | None]) -> int:
        function_pickle, memory_limit = request
        self.function = pickle.loads(function_pickle)
        getattr(self.function, "warm_up", lambda: None)()
        _limit_memory(memory_limit)
        return os.getpid()

    def call(self, item: Any) -> Any:
        return self.function(item)


def _receive(requests: BinaryIO) -> tuple[bytes, Any]:
    header = requests.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    token, length = HEADER.unpack(header)
    return token, pickle.loads(requests.read(length))


def _answer(token: bytes, reply: Any) -> bytes:
    try:
        return packed(token, reply)
    except Exception:
        return packed(token, ("error", ("TypeError: the result can't be pickled", traceback.format_exc())))


def _apply(do: Callable[[Any], Any], message: Any) -> tuple[str, Any]:
    try:
        return "ok", do(message)
    except BaseException as error:
        if is_exhausted(error):
            # What such an item asks for is beyond any grader: that is the item's fault, not the function's.
            return "crash", described(error)
        kinds = tuple(name_of(kind) for kind in type(error).__mro__)
        return "error", (described(error), traceback.format_exc()[-_LONGEST:], message_of(error), kinds)


def _limit_memory(extra_bytes: int | None) -> None:
    """Cap the address space at what is mapped now plus `extra_bytes`; no cap where the platform has no way to."""
    if extra_bytes is None:
        return
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + extra_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
