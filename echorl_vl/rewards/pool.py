"""Call a function on untrusted items in worker processes, each item under a hard limit of wall-clock time and memory.

    with GradingPool(function, workers=2, time_limit=10.0) as pool:
        outcomes = pool.map(items)

An item that takes longer gets the outcome `timeout`, one that kills its worker (segmentation fault, memory) `crash`;
the worker is killed with all that it has started, and replaced, and the other items go on. `map` always returns, with
one outcome per item, in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Literal

import psutil

from echorl_vl.rewards.failures import name_of
from echorl_vl.rewards.printed import Printed
from echorl_vl.rewards.worker import HEADER, LOST_CHANNEL, packed

MEMORY_LIMIT = 4 << 30
START_LIMIT = 120.0
_START_ATTEMPTS = 3
_PULSE = 0.2
_END_LIMIT = 5.0
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from echorl_vl.rewards.worker import main; main()"
_MARK = "ECHORL_WORKER"  # in the environment of what a worker starts
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """What became of one item. `value` is the function's result where `kind` is "ok"; else `detail` says what happened.

    "error" means that the function raised: `detail` is "Type: message", `message` that without the type, `trace` the
    worker's traceback, `kinds` the classes of the exception, bases included, by `failures.name_of`. It is an error too
    where the function has written into the worker's own file descriptors, or closed them.
    """

    kind: Literal["ok", "error", "timeout", "crash"]
    value: Any = None
    detail: str = ""
    trace: str = ""
    message: str = ""
    kinds: tuple[str, ...] = ()

    def raised(self, kind: type[BaseException]) -> bool:
        """Whether the function raised an exception of this class, or of one below it."""
        return name_of(kind) in self.kinds


class PoolError(RuntimeError):
    """The workers can't do their work at all: the function can't be loaded there, or no worker comes up.

    outcome: of the loading, where that is what failed.
    """

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome or Outcome("crash", detail=message)


class GradingPool:
    """Worker processes that apply `function` to items.

    `function` is sent by reference (module and name) or as a picklable object; if it has a method `warm_up()`, each
    worker calls that once before its first item. Workers start here and import in parallel with whatever the caller
    does next; the first `map` waits for them. `time_limit` is in seconds of wall clock per item, and does not run
    while a worker starts, for which `start_limit` holds. `memory_limit` is in bytes on top of what a worker has mapped
    when it is ready, None for no limit; it holds where the platform has `resource` and `/proc`.

    What workers print is shown behind `name`, the first lines of each `map` (see `printed`).

    `timeouts` and `crashes` count items since the start. Raises ValueError for workers < 1 or time_limit <= 0.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        workers: int,
        time_limit: float,
        memory_limit: int | None = MEMORY_LIMIT,
        start_limit: float = START_LIMIT,
        name: str = "grading",
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers: found {workers}, wanted at least 1")
        if not time_limit > 0:
            raise ValueError(f"time_limit: found {time_limit}, wanted seconds > 0")
        self.time_limit = time_limit
        self.timeouts = 0
        self.crashes = 0
        self._printed = Printed(name)
        self._start = (pickle.dumps(function), memory_limit, start_limit, self._printed)
        self._failed_starts = 0
        self._closed = False
        self._lock = threading.Lock()
        self._workers = [_Worker(*self._start) for _ in range(workers)]
        self._finalizer = weakref.finalize(self, _end_all, self._workers, os.getpid())

    def map(self, items: Sequence[Any], time_limit: float | None = None) -> list[Outcome]:
        """One outcome per item, in order. `time_limit` overrides the pool's for this call.

        Raises PoolError where no worker can be started, and whatever interrupts the caller (KeyboardInterrupt: busy
        workers are killed first; the pool stays usable).
        """
        items, limit = list(items), self.time_limit if time_limit is None else time_limit
        outcomes = [Outcome("crash")] * len(items)
        waiting, busy = deque(range(len(items))), {}
        with self._lock:
            self._printed.renew()
            try:
                while waiting or busy:
                    for worker in self._ready(len(waiting)):
                        busy[worker] = waiting.popleft()
                        worker.ask(items[busy[worker]], limit)
                    for worker, outcome in self._turn():
                        outcomes[busy.pop(worker)] = outcome
            except BaseException:
                _end_all(list(busy))
                raise
        self.timeouts += sum(outcome.kind == "timeout" for outcome in outcomes)
        self.crashes += sum(outcome.kind == "crash" for outcome in outcomes)
        return outcomes

    def pids(self) -> list[int]:
        """Process ids of the current workers; of their keepers while they start."""
        return [worker.pid for worker in self._workers]

    def close(self) -> None:
        """Kill the workers. Items under way are lost; closing twice is fine."""
        self._closed = True
        self._finalizer()

    def __enter__(self) -> GradingPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ready(self, count: int) -> list[_Worker]:
        """Up to `count` workers that can take an item. Those that have ended are replaced."""
        if self._closed:
            raise ValueError("the pool is closed")
        for slot, worker in enumerate(self._workers):
            if not worker.is_alive():
                worker.end()
                self._workers[slot] = _Worker(*self._start)
        return [worker for worker in self._workers if worker.stage == "idle"][:count]

    def _turn(self) -> list[tuple[_Worker, Outcome]]:
        """Wait a little, and return what has come of the items that workers are busy with."""
        asked = [worker for worker in self._workers if worker.deadline is not None]
        until = min((worker.deadline for worker in asked), default=0.0) - time.monotonic()
        # Never long: a wait without end can't be interrupted where the signal reaches another thread.
        wait([worker.channel for worker in asked], max(0.0, min(until, _PULSE)))
        done = []
        for worker in asked:
            outcome = worker.answer()
            if outcome is None:
                continue
            if worker.stage == "starts":
                self._started(worker, outcome)
            else:
                done.append((worker, outcome))
            worker.stage = "idle"
        return done

    def _started(self, worker: _Worker, outcome: Outcome) -> None:
        """Note that a worker has started, or failed to. Raises PoolError where another would fail as well."""
        if outcome.kind == "ok":
            worker.pid, self._failed_starts = outcome.value, 0
            return
        worker.end()
        self._failed_starts += 1
        if outcome.kind == "error":
            raise PoolError(f"a grading worker can't load its function:\n{outcome.trace or outcome.detail}", outcome)
        if outcome.kind == "timeout":
            raise PoolError(f"a grading worker loads its function, which {outcome.detail}", outcome)
        if self._failed_starts % _START_ATTEMPTS == 0:
            raise PoolError(
                f"no grading worker came up in {_START_ATTEMPTS} attempts; the last: {outcome.detail}", outcome
            )


class _Worker:
    """A keeper, the worker below it, and the socket that both ends share.

    stage: "starts", "idle" or "busy". deadline: of the answer that is due, by `time.monotonic`; None without one.
    pid: of the worker, once it has started.
    """

    def __init__(self, function_pickle: bytes, memory_limit: int | None, start_limit: float, printed: Printed) -> None:
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "TOKENIZERS_PARALLELISM": "false"}
        self._mark = environment[_MARK] = os.urandom(16).hex()
        path = json.dumps([str(entry) for entry in sys.path])
        self.channel, theirs = socket.socketpair()
        output, self._reader = printed.pipe()
        with theirs, os.fdopen(output, "wb") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-c", _BOOT, path, str(os.getpid())],
                stdin=theirs,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._keeper.pid
        self._broken = False
        self.ask((function_pickle, memory_limit), start_limit, "starts")

    def ask(self, message: Any, seconds: float, stage: str = "busy") -> None:
        """Send a request, whose answer is due in `seconds`."""
        self.stage, self._limit, self.deadline = stage, seconds, time.monotonic() + seconds
        self._token, self._received = os.urandom(16), bytearray()
        request = packed(self._token, message)
        self.channel.settimeout(seconds)
        with contextlib.suppress(OSError):  # it has ended, or does not read: `answer` finds out
            self.channel.sendall(request)

    def is_alive(self) -> bool:
        """Whether it has not ended, and, when idle, has said nothing: what it says unasked is no answer."""
        if self._broken or self._keeper.poll() is not None:
            return self.deadline is not None  # its answer tells
        return self.stage != "idle" or not wait([self.channel], 0)

    def answer(self) -> Outcome | None:
        """What has come of the last request; None while it is under way and has time."""
        outcome = self._read()
        if outcome is None and time.monotonic() >= self.deadline:
            outcome = Outcome("timeout", detail=f"took longer than {self._limit:g} s")
        if outcome is not None:
            self.deadline = None
            if self._broken or outcome.kind in ("timeout", "crash"):
                self.end()
        return outcome

    def end(self) -> None:
        """Kill it and all that it has started."""
        _end_all([self])

    def _read(self) -> Outcome | None:
        self.channel.setblocking(False)
        received = self._received
        try:
            part = self.channel.recv(1 << 20)
        except BlockingIOError:
            return None
        except OSError:
            part = b""
        if not part:
            return self._ended()
        received += part
        if received[:16] != self._token[: len(received)]:
            return self._garbled()
        if len(received) < HEADER.size or len(received) < HEADER.size + HEADER.unpack_from(received)[1]:
            return None
        try:
            kind, content = pickle.loads(received[HEADER.size :])
        except Exception:
            return self._garbled()
        if kind == "ok":
            return Outcome("ok", content)
        return Outcome("crash", detail=content) if kind == "crash" else Outcome("error", None, *content)

    def _garbled(self) -> Outcome:
        self._broken = True
        return Outcome("error", detail="it wrote into a file descriptor that it did not open (the worker's channel)")

    def _ended(self) -> Outcome:
        """The channel is closed: the worker has ended, or the function has closed what it did not open."""
        self._broken = True
        code = self._exit_status(1.0)
        if code is None and _is_running(self.pid):
            code = LOST_CHANNEL
        if code == LOST_CHANNEL:
            return Outcome("error", detail="it closed a file descriptor that it did not open (the worker's channel)")
        return Outcome("crash", detail=f"the worker {_ending(self._exit_status(_END_LIMIT))}")

    def _exit_status(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._keeper.wait(seconds)
        return None


def _end_all(workers: list[_Worker], owner: int | None = None) -> None:
    if owner not in (None, os.getpid()):
        return  # a fork of the caller must not end the caller's workers
    for worker in workers:
        worker._broken, worker.deadline = True, None
        worker._keeper.terminate()
        worker._keeper.send_signal(signal.SIGCONT)  # it may have been stopped
    for worker in workers:
        below = []
        try:
            worker._keeper.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            below = _below(worker._keeper.pid)
            worker._keeper.kill()
            worker._keeper.wait()
        if worker._keeper.returncode < 0:  # killed: it may not have ended what is below it
            _kill([*below, *_marked(worker._mark)])
        worker.channel.close()
        if worker._reader is not threading.current_thread():  # where the pool is collected as garbage
            worker._reader.join(1.0)  # the last lines


def _below(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _marked(mark: str) -> Iterator[psutil.Process]:
    """Processes that a worker has started, by its mark, whosever children they are by now."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(_MARK) == mark:
                yield process


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _ending(code: int | None) -> str:
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals((code or 0) - 128).name}"
    return f"ended with exit status {code}"


def _is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
