"""The parent of a grading worker: it ends the worker, and all that the worker has started, together with the caller.

A reward function may start processes of its own, and those may leave the worker's process group, ignore signals and
outlive their parent. On Linux the keeper adopts them all (it is a "subreaper": orphans below it become its children),
so that killing its children until none is left ends whatever came of the worker. In front of it stands a process that
does the same with the keeper: whichever of the two is killed or stopped, the other one ends the rest. They are in
sessions of their own, so that a signal to a process group reaches one of them.
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

LOOK = 0.25
"""Seconds between two looks at whether the caller is alive, where no descriptor tells (Linux before 5.3). A pipe can't:
a fork of the caller holds it open."""

_KILL_FOR = 10.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def keep(work: Callable[[], int], caller: int) -> int:
    """Run `work` in a process that reads and writes standard input; return its exit status, 128 + n for signal n.

    It returns when the worker ends, on SIGTERM, and when the process `caller`, this one's parent, is gone; by then no
    descendant is alive. SIGKILL of this process is noticed by the keeper below it: Ray sends that to the children of a
    process whose driver is gone.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach whole groups: the caller decides what ends
        signal.signal(number, signal.SIG_IGN)
    front, called = os.getpid(), os.getppid() == caller

    def keep_worker() -> int:
        os.setsid()
        keeper = os.getpid()
        if not called:
            return 0
        status = _guard(lambda: _start(work, keeper), [front, caller])
        if not _is_alive(caller):
            with contextlib.suppress(ProcessLookupError):
                os.kill(front, signal.SIGKILL)  # it may be stopped
        return status

    return _guard(keep_worker, [caller])


def _start(work: Callable[[], int], keeper: int) -> int:
    """In the worker: `work`, which ends with the keeper."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return work() if os.getppid() == keeper else 1


def _guard(work: Callable[[], int], above: list[int]) -> int:
    """Run `work` in a child until that ends, SIGTERM comes, or one of the processes `above` (the parent first) is gone.

    Then end all that is below this process, be it stopped, and return the child's exit status.
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
        ready, _, _ = select.select([woken, *parents], [], [], LOOK)
        if set(ready) & set(parents) or not (parents or _is_alive(above[-1])):
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
    """The caller sees the end of the worker's input when the worker ends, and not later."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)


def _end_descendants(ended: dict[int, int]) -> None:
    """Kill what is below this process until nothing is; wait statuses go into `ended`."""
    deadline = time.monotonic() + _KILL_FOR  # what hangs in the kernel can't be killed
    while _reap(ended) and time.monotonic() < deadline:
        for process in _psutil().Process().children(recursive=True):
            with contextlib.suppress(_psutil().Error):
                process.kill()
        time.sleep(0.005)


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(_psutil().Error):
        return _psutil().Process(pid).status() != _psutil().STATUS_ZOMBIE
    return False


def _psutil() -> ModuleType:
    import psutil  # after the forks: the worker is a fresh interpreter

    return psutil


def _exit_status(status: int) -> int:
    """Of a wait status: the exit code, 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _reap(ended: dict[int, int]) -> bool:
    """Add the wait statuses of children that have ended, adopted ones among them; whether any is left."""
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return True
            ended[child] = status
    return False


def _prctl(option: int, value: int) -> None:
    """Where the platform has none, the worker's process group is all that is killed with it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)))
