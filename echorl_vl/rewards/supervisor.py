"""The parent of a grading worker: it ends the worker, and every process the worker has started, when the caller ends.

A reward function may start processes that leave the worker's process group, ignore signals and outlive their parent. On
Linux the supervisor is a "subreaper": orphans below it become its children, so it can end every descendant by killing
its children until none is left. The process above the supervisor, the front, does the same with the supervisor: if one
of the two is killed or stopped, the other ends the rest. Each is in its own session, so a signal to a process group
reaches only one of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Callable
from types import ModuleType

POLL_SECONDS = 0.25
"""Between two checks whether the caller is alive, without pidfd (Linux before 5.3). A pipe can't replace it, as a fork
of the caller keeps that open."""

_KILL_FOR = 10.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def supervise(work: Callable[[], int], caller: int) -> int:
    """Run `work` in a worker process, which inherits standard input, until it ends or is no longer needed.

    That is on SIGTERM, or when the process `caller`, the parent of this one, has ended. No descendant is alive when
    this returns. If this process gets SIGKILL, which Ray sends to the children of a process whose driver has ended, the
    supervisor below it ends the worker.

    Returns:
        The exit status of the worker, 128 + n for signal n.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach whole groups, and the caller decides what ends
        signal.signal(number, signal.SIG_IGN)
    front, has_caller = os.getpid(), os.getppid() == caller

    def supervise_worker() -> int:
        os.setsid()
        supervisor = os.getpid()
        if not has_caller:
            return 0
        status = _guard(lambda: _start(work, supervisor), [front, caller])
        if not is_running(caller):
            with contextlib.suppress(ProcessLookupError):
                os.kill(front, signal.SIGKILL)  # it may be stopped
        return status

    return _guard(supervise_worker, [caller])


def _start(work: Callable[[], int], supervisor: int) -> int:
    """Run `work` in the worker, which is killed when the supervisor ends."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return work() if os.getppid() == supervisor else 1


def _guard(work: Callable[[], int], above: list[int]) -> int:
    """Run `work` in a child until it ends, SIGTERM arrives, or a process of `above` (the parent first) has ended.

    Then kill all descendants, stopped ones too, and return the child's exit status.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    asked: list[int] = []
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.close(woken)
        os.close(wakes)
        status = 1
        try:
            status = work()
        finally:
            os._exit(status)
    _close_input()
    parents, ended = [], {}
    with contextlib.suppress(AttributeError, OSError):
        parents = [os.pidfd_open(pid) for pid in above]
    while child not in ended and not asked and os.getppid() == above[0]:
        ready, _, _ = select.select([woken, *parents], [], [], POLL_SECONDS)
        if set(ready) & set(parents) or not (parents or is_running(above[-1])):
            break
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)
        _reap(ended)
    if child not in ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    _end_descendants(ended)
    return _exit_status(ended.get(child, 0))


def _close_input() -> None:
    """Drop this process's copy of the channel, so that the caller sees it close as soon as the worker ends."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)


def _end_descendants(ended: dict[int, int]) -> None:
    """Kill descendants until none is left, and add their wait statuses to `ended`."""
    deadline = time.monotonic() + _KILL_FOR  # a process that hangs in the kernel can't be killed
    while _reap(ended) and time.monotonic() < deadline:
        for process in _psutil().Process().children(recursive=True):
            with contextlib.suppress(_psutil().Error):
                process.kill()
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    with contextlib.suppress(_psutil().Error):
        return _psutil().Process(pid).status() != _psutil().STATUS_ZOMBIE
    return False


def _psutil() -> ModuleType:
    import psutil  # imported after the forks, so that the worker stays a fresh interpreter

    return psutil


def _exit_status(status: int) -> int:
    """The exit code of a wait status, 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _reap(ended: dict[int, int]) -> bool:
    """Add the wait statuses of ended children, adopted ones included. Returns whether any child is left."""
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return True
            ended[child] = status
    return False


def _prctl(option: int, value: int) -> None:
    """Call prctl. Where the platform has none, only the worker's process group is killed with it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)))
