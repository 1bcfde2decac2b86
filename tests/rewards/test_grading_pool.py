"""Worker processes with a hard limit: each item gets an outcome, whatever the others do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import worker_functions

from echorl_vl.rewards.pool import GradingPool, PoolError

LIMIT = 2.0


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(worker_functions.behave, workers=2, time_limit=LIMIT, memory_limit=1 << 29) as pool:
        yield pool


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_outcomes_are_in_order(pool: GradingPool) -> None:
    assert [outcome.value for outcome in pool.map(range(50))] == [2 * item for item in range(50)]
    assert pool.map([]) == []


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ("hang", "timeout"),
        ("hang in C", "timeout"),
        ("sleep", "timeout"),
        ("segfault", "crash"),
        ("exit", "crash"),
        ("memory", "crash"),
        ("recurse", "crash"),
        ("raise", "error"),
        ("lambda", "error"),
        ("print", "ok"),
        ("stdin", "ok"),
    ],
)
def test_one_bad_item_does_not_affect_the_others(pool: GradingPool, item: str, kind: str) -> None:
    before = (pool.timeouts, pool.crashes)
    outcomes = pool.map([1, item, 3, 4])
    assert [outcome.kind for outcome in outcomes] == ["ok", kind, "ok", "ok"]
    assert [outcomes[i].value for i in (0, 2, 3)] == [2, 6, 8]
    assert (pool.timeouts - before[0], pool.crashes - before[1]) == (kind == "timeout", kind == "crash")


def test_memory_is_limited(pool: GradingPool) -> None:
    assert pool.map(["grow"], time_limit=20)[0].kind == "crash"


def test_the_time_limit_is_per_item_and_can_be_set_per_call(pool: GradingPool) -> None:
    begin = time.perf_counter()
    assert [outcome.kind for outcome in pool.map(["sleep"] * 2, time_limit=0.2)] == ["timeout"] * 2
    assert time.perf_counter() - begin < 10
    assert "0.2 s" in pool.map(["sleep"], time_limit=0.2)[0].detail


def test_an_error_has_its_type_message_and_place(pool: GradingPool) -> None:
    [outcome] = pool.map(["raise"])
    assert (outcome.detail, outcome.message) == ("KeyError: 'no such thing'", "'no such thing'")
    assert outcome.raised(KeyError) and outcome.raised(LookupError) and not outcome.raised(IndexError)
    assert "worker_functions.py" in outcome.trace


def test_a_megabyte_is_sent_and_received(pool: GradingPool) -> None:
    assert pool.map(["x" * 1_000_000], time_limit=20)[0].value == "x" * 2_000_000


def test_workers_killed_from_outside_are_replaced(pool: GradingPool) -> None:
    pool.map([1, 2])
    for pid in pool.pids():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert [outcome.value for outcome in pool.map([1, 2, 3])] == [2, 4, 6]


def test_a_worker_killed_while_busy_loses_only_its_item(pool: GradingPool) -> None:
    pool.map([1, 2])
    victim = pool.pids()[0]
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    outcomes = pool.map(["sleep", "sleep"], time_limit=1.5)
    assert sorted(outcome.kind for outcome in outcomes) == ["crash", "timeout"]
    assert victim not in pool.pids()


def test_workers_ignore_ctrl_c(pool: GradingPool) -> None:
    [outcome] = pool.map(["pid"])
    os.kill(outcome.value, signal.SIGINT)
    assert pool.map([5])[0].value == 10
    assert outcome.value in pool.pids()


@pytest.fixture
def ctrl_c_raises():
    """Set Python's default handler, as a test run in the background of a shell starts with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_in_the_caller_ends_map_and_the_pool_stays_usable(pool: GradingPool) -> None:
    pool.map([1, 2])
    busy = pool.pids()
    threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,)).start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        pool.map(["sleep"] * 4, time_limit=60)
    assert time.perf_counter() - begin < 20
    assert all(_has_ended(pid) for pid in busy)
    assert [outcome.value for outcome in pool.map([1, 2])] == [2, 4]


def test_a_worker_is_a_fresh_interpreter_with_one_thread() -> None:
    with GradingPool(worker_functions.environment, workers=1, time_limit=10) as pool:
        assert pool.map(["OMP_NUM_THREADS"])[0].value == {"modules": [], "omp": "1"}


def test_a_function_that_does_not_load_is_an_error() -> None:
    with (
        GradingPool(worker_functions.FailsToLoad(), workers=2, time_limit=1) as pool,
        pytest.raises(PoolError, match="no module named nothing"),
    ):
        pool.map([1])


def test_close_ends_the_workers() -> None:
    pool = GradingPool(worker_functions.behave, workers=2, time_limit=1)
    pids = pool.pids()
    pool.close()
    pool.close()
    assert all(_has_ended(pid) for pid in pids)
    with pytest.raises(ValueError, match="closed"):
        pool.map([1])


@pytest.mark.parametrize(
    "ending", ["", "raise KeyboardInterrupt", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_no_worker_outlives_its_caller(ending: str) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import worker_functions as w\n"
        "from echorl_vl.rewards.pool import GradingPool\n"
        "pool = GradingPool(w.behave, 1, 1.0); pool.map([1]); print(pool.pids()[0], flush=True)\n" + ending
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    pid = int(process.stdout)
    deadline = time.monotonic() + 10
    while not _has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _has_ended(pid)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="workers: expected at least 1, got 0"):
        GradingPool(worker_functions.behave, 0, 1)
    with pytest.raises(ValueError, match="time_limit: expected seconds > 0, got 0"):
        GradingPool(worker_functions.behave, 1, 0)
