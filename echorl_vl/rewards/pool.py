"""Apply a function to untrusted items in worker processes, with a hard limit of time and memory per item.

    with GradingPool(function, workers=2, time_limit=10.0) as pool:
        outcomes = pool.map(items)

The outcome of an item is `timeout` if it takes too long and `crash` if it ends its worker (segmentation fault, memory).
Its worker is killed with every process it has started, and replaced; the other items are not affected. `map` always
returns one outcome per item, in order.
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

from echorl_vl.rewards.failures import class_name
from echorl_vl.rewards.output import WorkerOutput
from echorl_vl.rewards.supervisor import is_running
from echorl_vl.rewards.worker import HEADER, LOST_CHANNEL, pack

MEMORY_LIMIT = 4 << 30
START_LIMIT = 120.0
_START_ATTEMPTS = 3
_POLL_SECONDS = 0.2
_END_LIMIT = 5.0
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from echorl_vl.rewards.worker import main; main()"
_MARK = "ECHORL_WORKER"  # environment variable of every process that a worker starts
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one item.

    Attributes:
        kind: "ok", "timeout", "crash", or "error" if the function raised, or used file descriptors of the worker.
        value: result of the function if it is "ok".
        detail: what happened if it is not; "Type: message" of an exception.
        trace: traceback of an exception in the worker.
        message: its message without the type.
        kinds: its classes, bases included, by `failures.class_name`.
    """

    kind: Literal["ok", "error", "timeout", "crash"]
    value: Any = None
    detail: str = ""
    trace: str = ""
    message: str = ""
    kinds: tuple[str, ...] = ()

    def raised(self, kind: type[BaseException]) -> bool:
        """Whether the function raised an exception of this class or a subclass."""
        return class_name(kind) in self.kinds


class PoolError(RuntimeError):
    """No worker is usable: the function fails to load, or workers fail to start. `outcome` is that of the start."""

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome or Outcome("crash", detail=message)


class GradingPool:
    """Worker processes that apply a function to items.

    Workers start in the background; the first `map` waits for them.

    Args:
        function: pickled, so by reference for a function of a module. Its method `warm_up()`, if it has one, is called
            once in each worker before the first item.
        workers: number of processes.
        time_limit: seconds of wall clock per item.
        memory_limit: bytes that a worker may map beyond what it has mapped after `warm_up`, None for no limit. Needs a
            platform with `resource` and `/proc`.
        start_limit: seconds for a worker to start.
        name: shown in front of the lines that workers print, the first ones of each `map` (see `output`).

    Attributes:
        timeouts, crashes: number of items with these outcomes so far.

    Raises:
        ValueError: `workers` is below 1, or `time_limit` is not positive.
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
            raise ValueError(f"workers: expected at least 1, got {workers}")
        if not time_limit > 0:
            raise ValueError(f"time_limit: expected seconds > 0, got {time_limit}")
        self.time_limit = time_limit
        self.timeouts = 0
        self.crashes = 0
        self._output = WorkerOutput(name)
        self._start = (pickle.dumps(function), memory_limit, start_limit, self._output)
        self._failed_starts = 0
        self._closed = False
        self._lock = threading.Lock()
        self._workers = [_Worker(*self._start) for _ in range(workers)]
        self._finalizer = weakref.finalize(self, _end_all, self._workers, os.getpid())

    def map(self, items: Sequence[Any], time_limit: float | None = None) -> list[Outcome]:
        """Apply the function to items.

        Args:
            items: arguments of the function, which have to be picklable.
            time_limit: seconds per item, in place of the pool's.

        Returns:
            One outcome per item, in order.

        Raises:
            PoolError: no worker can be started.
            KeyboardInterrupt: on Ctrl-C. Busy workers are killed first, and the pool stays usable.
        """
        items, limit = list(items), self.time_limit if time_limit is None else time_limit
        outcomes = [Outcome("crash")] * len(items)
        waiting, busy = deque(range(len(items))), {}
        with self._lock:
            self._output.reset()
            try:
                while waiting or busy:
                    for worker in self._ready(len(waiting)):
                        busy[worker] = waiting.popleft()
                        worker.ask(items[busy[worker]], limit)
                    for worker, outcome in self._poll():
                        outcomes[busy.pop(worker)] = outcome
            except BaseException:
                _end_all(list(busy))
                raise
        self.timeouts += sum(outcome.kind == "timeout" for outcome in outcomes)
        self.crashes += sum(outcome.kind == "crash" for outcome in outcomes)
        return outcomes

    def pids(self) -> list[int]:
        """Process ids of the workers, or of the process that is starting one."""
        return [worker.pid for worker in self._workers]

    def close(self) -> None:
        """Kill the workers. May be called again."""
        self._closed = True
        self._finalizer()

    def __enter__(self) -> GradingPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ready(self, count: int) -> list[_Worker]:
        """Replace workers that have ended, and return up to `count` idle ones."""
        if self._closed:
            raise ValueError("the pool is closed")
        for slot, worker in enumerate(self._workers):
            if not worker.is_alive():
                worker.end()
                self._workers[slot] = _Worker(*self._start)
        return [worker for worker in self._workers if worker.stage == "idle"][:count]

    def _poll(self) -> list[tuple[_Worker, Outcome]]:
        """Wait briefly and return the outcomes that are there."""
        asked = [worker for worker in self._workers if worker.deadline is not None]
        until = min((worker.deadline for worker in asked), default=0.0) - time.monotonic()
        # Short waits, as a signal that reaches another thread does not interrupt a long one.
        wait([worker.channel for worker in asked], max(0.0, min(until, _POLL_SECONDS)))
        done = []
        for worker in asked:
            outcome = worker.answer()
            if outcome is None:
                continue
            if worker.stage == "starting":
                self._started(worker, outcome)
            else:
                done.append((worker, outcome))
            worker.stage = "idle"
        return done

    def _started(self, worker: _Worker, outcome: Outcome) -> None:
        """Handle the outcome of a worker's start. Raises PoolError if another attempt would fail as well."""
        if outcome.kind == "ok":
            worker.pid, self._failed_starts = outcome.value, 0
            return
        worker.end()
        self._failed_starts += 1
        if outcome.kind == "error":
            raise PoolError(f"a grading worker can't load its function:\n{outcome.trace or outcome.detail}", outcome)
        if outcome.kind == "timeout":
            raise PoolError(f"loading the function in a grading worker {outcome.detail}", outcome)
        if self._failed_starts % _START_ATTEMPTS == 0:
            raise PoolError(
                f"no grading worker started in {_START_ATTEMPTS} attempts; the last failure: {outcome.detail}", outcome
            )


class _Worker:
    """A worker with its supervisor, and the caller's end of their socket.

    Attributes:
        stage: "starting", "idle" or "busy".
        deadline: `time.monotonic` at which the answer is due, None if none is.
        pid: process id of the worker, once it has started.
    """

    def __init__(
        self, function_pickle: bytes, memory_limit: int | None, start_limit: float, output: WorkerOutput
    ) -> None:
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "TOKENIZERS_PARALLELISM": "false"}
        self._mark = environment[_MARK] = os.urandom(16).hex()
        path = json.dumps([str(entry) for entry in sys.path])
        self.channel, theirs = socket.socketpair()
        output, self._reader = output.pipe()
        with theirs, os.fdopen(output, "wb") as output:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-c", _BOOT, path, str(os.getpid())],
                stdin=theirs,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._supervisor.pid
        self._broken = False
        self.ask((function_pickle, memory_limit), start_limit, "starting")

    def ask(self, message: Any, seconds: float, stage: str = "busy") -> None:
        """Send a request that has to be answered in `seconds`."""
        self.stage, self._limit, self.deadline = stage, seconds, time.monotonic() + seconds
        self._token, self._received = os.urandom(16), bytearray()
        request = pack(self._token, message)
        self.channel.settimeout(seconds)
        with contextlib.suppress(OSError):  # it has ended or does not read, which `answer` handles
            self.channel.sendall(request)

    def is_alive(self) -> bool:
        """Whether the worker runs, and has sent nothing while idle."""
        if self._broken or self._supervisor.poll() is not None:
            return self.deadline is not None  # then `answer` handles it
        return self.stage != "idle" or not wait([self.channel], 0)

    def answer(self) -> Outcome | None:
        """Outcome of the last request, None while it is running and within its time limit."""
        outcome = self._read()
        if outcome is None and time.monotonic() >= self.deadline:
            outcome = Outcome("timeout", detail=f"took longer than {self._limit:g} s")
        if outcome is not None:
            self.deadline = None
            if self._broken or outcome.kind in ("timeout", "crash"):
                self.end()
        return outcome

    def end(self) -> None:
        """Kill the worker and every process it has started."""
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
        return Outcome(
            "error", detail="the function wrote into a file descriptor that it did not open (the worker's channel)"
        )

    def _ended(self) -> Outcome:
        """Outcome for a closed channel: the worker has ended, or the function has closed the worker's descriptor."""
        self._broken = True
        code = self._exit_status(1.0)
        if code is None and is_running(self.pid):
            code = LOST_CHANNEL
        if code == LOST_CHANNEL:
            return Outcome(
                "error", detail="the function closed a file descriptor that it did not open (the worker's channel)"
            )
        return Outcome("crash", detail=f"the worker {_ending(self._exit_status(_END_LIMIT))}")

    def _exit_status(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._supervisor.wait(seconds)
        return None


def _end_all(workers: list[_Worker], owner: int | None = None) -> None:
    if owner not in (None, os.getpid()):
        return  # a fork of the caller, which must not end the caller's workers
    for worker in workers:
        worker._broken, worker.deadline = True, None
        worker._supervisor.terminate()
        worker._supervisor.send_signal(signal.SIGCONT)  # it may have been stopped
    for worker in workers:
        descendants = []
        try:
            worker._supervisor.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            descendants = _descendants(worker._supervisor.pid)
            worker._supervisor.kill()
            worker._supervisor.wait()
        if worker._supervisor.returncode < 0:  # it was killed, so its descendants may be alive
            _kill([*descendants, *_marked(worker._mark)])
        worker.channel.close()
        if worker._reader is not threading.current_thread():  # if the garbage collector runs in that thread
            worker._reader.join(1.0)  # for the last lines


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _marked(mark: str) -> Iterator[psutil.Process]:
    """Processes that a worker has started, found by its mark, whatever their parent is now."""
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
