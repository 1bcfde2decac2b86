"""Call a function on untrusted items in worker processes, each item under a hard limit of wall-clock time and memory.

    with GradingPool(function, workers=2, time_limit=10.0) as pool:
        outcomes = pool.map(items)

An item that takes longer gets the outcome `timeout`, one that kills its worker (segmentation fault, memory) `crash`;
the worker is killed and replaced, and the other items go on. `map` always returns, with one outcome per item, in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from echorl_vl.rewards.worker import receive, send

MEMORY_LIMIT = 4 << 30
START_LIMIT = 120.0
_START_ATTEMPTS = 3
_PULSE = 0.2
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from echorl_vl.rewards.worker import main; main()"
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """What became of one item. `value` is the function's result where `kind` is "ok"; else `detail` says what happened.

    "error" means that the function raised: `detail` is "Type: message", `trace` the worker's traceback.
    """

    kind: Literal["ok", "error", "timeout", "crash"]
    value: Any = None
    detail: str = ""
    trace: str = ""


class PoolError(RuntimeError):
    """The workers can't do their work at all: the function can't be imported there, or no worker comes up."""


class GradingPool:
    """Worker processes that apply `function` to items.

    `function` is sent by reference (module and name) or as a picklable object; if it has a method `warm_up()`, each
    worker calls that once before its first item. Workers start here and import in parallel with whatever the caller
    does next; the first `map` waits for them. `time_limit` is in seconds of wall clock per item, and does not run
    while a worker starts. `memory_limit` is in bytes on top of what a worker has mapped when it is ready, None for no
    limit; it holds where the platform has `resource` and `/proc`.

    `timeouts` and `crashes` count items since the start. Raises ValueError for workers < 1 or time_limit <= 0.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        workers: int,
        time_limit: float,
        memory_limit: int | None = MEMORY_LIMIT,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers: found {workers}, wanted at least 1")
        if not time_limit > 0:
            raise ValueError(f"time_limit: found {time_limit}, wanted seconds > 0")
        self.time_limit = time_limit
        self.timeouts = 0
        self.crashes = 0
        self._header = (pickle.dumps(function), memory_limit)
        self._closed = False
        self._lock = threading.Lock()
        self._slots = [_Slot(threading.Lock(), _Worker(self._header)) for _ in range(workers)]
        self._finalizer = weakref.finalize(self, _kill_all, self._slots, os.getpid())

    def map(self, items: Sequence[Any], time_limit: float | None = None) -> list[Outcome]:
        """One outcome per item, in order. `time_limit` overrides the pool's for this call.

        Raises PoolError where no worker can be started, and whatever interrupts the caller (KeyboardInterrupt: busy
        workers are killed first; the pool stays usable).
        """
        if self._closed:
            raise ValueError("the pool is closed")
        items = list(items)
        if not items:
            return []
        job = _Job(items, self.time_limit if time_limit is None else time_limit)
        threads = [
            threading.Thread(target=self._serve, args=(slot, job), daemon=True) for slot in self._slots[: len(items)]
        ]
        for thread in threads:
            thread.start()
        try:
            while not job.done.wait(_PULSE):
                pass  # a wait without end can't be interrupted where the signal reaches another thread
        except BaseException:
            job.cancel()
            for slot in self._slots:
                slot.worker.kill()
            for thread in threads:
                thread.join()
            raise
        if job.failure is not None:
            raise job.failure
        with self._lock:
            self.timeouts += sum(outcome.kind == "timeout" for outcome in job.outcomes)
            self.crashes += sum(outcome.kind == "crash" for outcome in job.outcomes)
        return job.outcomes

    def pids(self) -> list[int]:
        """Process ids of the current workers."""
        return [slot.worker.process.pid for slot in self._slots]

    def close(self) -> None:
        """Kill the workers. Items under way are lost; closing twice is fine."""
        self._closed = True
        self._finalizer()

    def __enter__(self) -> GradingPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _serve(self, slot: _Slot, job: _Job) -> None:
        """Work on a job with one worker until no item is left."""
        with slot.lock:
            try:
                while not job.done.is_set():
                    self._ensure_ready(slot, job)
                    index = job.next_index()
                    if index is None:
                        return
                    outcome = slot.worker.call(job.items[index], job.time_limit)
                    if outcome.kind in ("timeout", "crash"):
                        slot.worker.discard()
                        if not (self._closed or job.cancelled):
                            slot.worker = _Worker(self._header)
                    job.finish(index, outcome)
            except Exception as error:
                job.fail(error)

    def _ensure_ready(self, slot: _Slot, job: _Job) -> None:
        for _ in range(_START_ATTEMPTS):
            if job.cancelled or self._closed:
                raise PoolError("the pool was closed while it worked")
            if slot.worker.is_ready():
                return
            slot.worker.discard()
            slot.worker = _Worker(self._header)
        if not slot.worker.is_ready():
            raise PoolError(f"no grading worker came up in {_START_ATTEMPTS} attempts")


@dataclass
class _Slot:
    lock: threading.Lock
    worker: _Worker


class _Job:
    """Items of one `map`, handed out to the threads that serve it."""

    def __init__(self, items: list[Any], time_limit: float) -> None:
        self.items = items
        self.time_limit = time_limit
        self.outcomes: list[Outcome] = [Outcome("crash")] * len(items)
        self.failure: Exception | None = None
        self.cancelled = False
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._handed_out = 0
        self._open = len(items)

    def next_index(self) -> int | None:
        with self._lock:
            if self.cancelled or self.failure or self._handed_out == len(self.items):
                return None
            self._handed_out += 1
            return self._handed_out - 1

    def finish(self, index: int, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes[index] = outcome
            self._open -= 1
            if self._open == 0:
                self.done.set()

    def fail(self, error: Exception) -> None:
        with self._lock:
            self.failure = self.failure or error
            self.done.set()

    def cancel(self) -> None:
        self.cancelled = True
        self.done.set()


class _Worker:
    """One process and its pipe. Not shared between threads, except `kill`."""

    def __init__(self, header: tuple[bytes, int | None]) -> None:
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps([str(entry) for entry in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._ready = False
        with contextlib.suppress(OSError):  # gone already: is_ready finds out
            send(self.process.stdin, header)

    def is_ready(self) -> bool:
        """Wait until the worker has imported what it needs. False if it died; PoolError if it says that it can't."""
        if self._ready:
            return self.process.poll() is None
        reply = self._timed(lambda: receive(self.process.stdout), START_LIMIT)
        if isinstance(reply, Outcome):
            return False
        if reply[0] == "failed":
            raise PoolError(f"a grading worker can't load its function:\n{reply[1]}")
        self._ready = True
        return True

    def call(self, item: Any, time_limit: float) -> Outcome:
        def exchange() -> Any:
            send(self.process.stdin, (item, time_limit))
            return receive(self.process.stdout)

        reply = self._timed(exchange, time_limit)
        if isinstance(reply, Outcome):
            return reply
        kind, content = reply
        if kind == "ok":
            return Outcome("ok", content)
        if kind == "crash":
            return Outcome("crash", detail=content)
        name, message, trace = content
        return Outcome("error", detail=f"{name}: {message}" if message else name, trace=trace)

    def kill(self) -> None:
        self.process.kill()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()

    def discard(self) -> None:
        """Kill, and close the pipe: only for the thread that uses this worker."""
        self.kill()
        self.process.stdout.close()

    def _timed(self, exchange: Callable[[], Any], seconds: float) -> Any:
        """Result of `exchange`, or the outcome timeout or crash. Killing the process is what ends a blocked read."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.process.kill()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            reply = exchange()
        except (EOFError, OSError, ValueError) as error:
            if expired.is_set():
                return Outcome("timeout", detail=f"took longer than {seconds:g} s")
            if isinstance(error, ValueError) and self.process.poll() is None:
                raise
            code = self.process.wait()
            return Outcome("crash", detail=f"the worker ended with exit status {code}")
        finally:
            timer.cancel()
        # The timer may fire between answer and cancellation: the answer stands, the next call finds the worker dead.
        return reply


def _kill_all(slots: list[_Slot], owner: int) -> None:
    if os.getpid() == owner:  # a fork of the caller must not end the caller's workers
        for slot in slots:
            slot.worker.kill()
