"""A worker process of a `GradingPool`: it reads requests from its standard input, a socket, and answers there.

It is a fresh interpreter, not a fork of the caller: it holds no locks of torch's threads, does not run the caller's
main module again, and imports nothing that the caller has imported. Its parent is a `supervisor`, which ends it.
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

from echorl_vl.rewards.failures import class_name, describe_error, error_message, is_exhausted
from echorl_vl.rewards.supervisor import supervise

INSIDE = False  # True in a worker, where code grades directly instead of starting another pool

HEADER = struct.Struct(">16sQ")
"""Header of a message: the random token of its request, which the answer repeats, and the length of the pickle."""
LOST_CHANNEL = 74
"""Exit status of a worker that can't answer, because the function closed a descriptor that it did not open."""
_LONGEST = 40_000


def main() -> None:
    """Serve the process `sys.argv[2]`, the caller, until it ends."""
    sys.exit(supervise(_serve, int(sys.argv[2])))


def pack(token: bytes, message: Any) -> bytes:
    """Serialize a message."""
    payload = pickle.dumps(message)
    return HEADER.pack(token, len(payload)) + payload


def _serve() -> int:
    global INSIDE
    INSIDE = True
    channel = socket.socket(fileno=os.dup(0))
    # User code must not print into the channel or read requests from it.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with contextlib.suppress(OSError):  # without a standard error
        os.dup2(2, 1)
    requests, worker, handler = channel.makefile("rb"), os.getpid(), _RequestHandler()
    try:
        for handle in itertools.chain([handler.start], itertools.repeat(handler.call)):
            token, message = _receive(requests)
            reply = _apply(handle, message)
            if os.getpid() != worker:
                return 0  # a fork made by the function, in which it has returned
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            channel.sendall(_answer(token, reply))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0
    except OSError:
        pass
    return LOST_CHANNEL


class _RequestHandler:
    """Handles requests: the first loads the function, the others call it with an item."""

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
        return pack(token, reply)
    except Exception:
        return pack(token, ("error", ("TypeError: the result can't be pickled", traceback.format_exc())))


def _apply(handle: Callable[[Any], Any], message: Any) -> tuple[str, Any]:
    try:
        return "ok", handle(message)
    except BaseException as error:
        if is_exhausted(error):
            # No grader could handle such an item, so the item is at fault, not the function.
            return "crash", describe_error(error)
        kinds = tuple(class_name(kind) for kind in type(error).__mro__)
        return "error", (describe_error(error), traceback.format_exc()[-_LONGEST:], error_message(error), kinds)


def _limit_memory(extra_bytes: int | None) -> None:
    """Limit the address space to `extra_bytes` more than is mapped now, where the platform supports that."""
    if extra_bytes is None:
        return
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + extra_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
