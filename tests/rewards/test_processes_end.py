"""Every process that a reward function starts ends with the time limit of its row, the pool, or the caller."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from finished_run import MARK, left_after, processes

from echorl_vl.rewards.manager import RewardManager
from echorl_vl.rewards.pool import _END_LIMIT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers, which adopt orphans")

SECONDS_TO_END = 2.0

CALLER = """
import sys, time
from echorl_vl.errors import UserError
from echorl_vl.rewards.manager import RewardManager
try:
    manager = RewardManager(sys.argv[1] + ":f", {}, 2, 60.0)
    manager.score(["5"] * 3, [1] * 3, ["5"] * 3)
except UserError as error:
    print(error, file=sys.stderr)
open(sys.argv[2], "w").close()
time.sleep(600)
"""

# A reward file that calls `misbehave`, one of the functions of ACTS, in one of PLACES. `hang` creates the file STARTED
# once all processes are started. The file ACTED shows that the reward was called and that its processes have the mark,
# even if they have ended since.
REWARD = """
import multiprocessing, os, signal, subprocess, sys, time
REWARD_TYPE = "sequential"
STARTED, ACTED = {started!r}, {acted!r}

def hang():
    open(STARTED, "w").close()
    while True:
        time.sleep(0.1)

def ignore_all():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

{act}

def misbehave():
    with open(ACTED, "a") as file:
        file.write(os.environ[{MARK!r}])
    return act()

{place}
"""

PLACES = {
    "import": "misbehave()\ndef f(row): return {'overall': 1.0}",
    "quick_score": "def quick_score(row): misbehave()\ndef f(row): return {'overall': 1.0}",
    "grading": "def f(row): return misbehave() or {'overall': 1.0}",
}

ACTS = {
    "a loop": "act = hang",
    "a loop in C": "def act():\n    open(STARTED, 'w').close()\n    return 9 ** 9 ** 9",
    "blocks all signals": "def act():\n    ignore_all()\n    hang()",
    "multiprocessing": """
def act():
    child = multiprocessing.get_context("fork").Process(target=hang)
    child.start()
    child.join()
""",
    "20 children": """
def act():
    for _ in range(20):
        if os.fork() == 0:
            time.sleep(1000)
    hang()
""",
    "a child in a session of its own": """
def act():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    hang()
""",
    "a daemon that ignores signals": """
def act():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ignore_all()
            hang()
        os._exit(0)
    os.wait()
    hang()
""",
    "children left behind": """
def act():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if os.fork() == 0:
        ignore_all()
        hang()
""",
    "writes into descriptors": r"""
def act():
    for number in range(3, 20):
        try:
            os.write(number, b"\0\0\0\0\0\0\0\5junk!")
        except OSError:
            pass
""",
    "exits": "act = lambda: sys.exit(3)",
    "StopIteration": "def act(): raise StopIteration('a\\x1b[2J')",
    "kills its group": "def act(): os.killpg(0, signal.SIGKILL)",
    "a child that comes back": "def act(): os.fork()",
}
AGAINST_ONE_SUPERVISOR = {
    f"{name} {signal} {whom}": f"""
def act():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    parent = os.getppid()
    above = open(f"/proc/{{parent}}/stat").read().rpartition(")")[2].split()
    for pid in {pids}:
        {call}(pid, signal.{signal})
    hang()
"""
    for signal in ("SIGSTOP", "SIGKILL")
    for name, whom, pids, call in (
        ("sends", "to its parent", "[parent]", "os.kill"),
        ("sends", "to its parent's parent", "[int(above[1])]", "os.kill"),
        ("sends", "to its parent's group", "[int(above[2])]", "os.killpg"),
    )
}
AGAINST_BOTH_SUPERVISORS = """
def act():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    parent = os.getppid()
    above = int(open(f"/proc/{parent}/stat").read().rpartition(")")[2].split()[1])
    for pid in (above, parent):
        os.kill(pid, signal.SIGNAL)
    hang()
"""
EVERYTHING = """
def act():
    for _ in range(20):
        if os.fork() == 0:
            time.sleep(1000)
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ignore_all()
            hang()
        os._exit(0)
    ignore_all()
    hang()
"""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mark in the environment of all processes that the test starts. Those that are left are killed at the end."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    yield mark
    for pid in processes(mark):
        with contextlib.suppress(psutil.Error):  # it may have ended
            psutil.Process(pid).kill()


def _wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _reward_file(tmp_path: Path, act: str, place: str) -> tuple[Path, Path]:
    """A reward file, and the file that it creates once all processes are started."""
    file, started, acted = tmp_path / "reward.py", tmp_path / "started", tmp_path / "acted"
    file.write_text(REWARD.format(started=str(started), acted=str(acted), MARK=MARK, act=act, place=place))
    return file, started


def _killed_caller(tmp_path: Path, act: str, place: str, mark: str, first: int = 0) -> dict[int, str]:
    """Kill a caller while its reward misbehaves, and return the processes that are left.

    Args:
        first: generation of descendants to kill before the caller (1: its children, 2: theirs), 0 for none.
    """
    file, started = _reward_file(tmp_path, act, PLACES[place])
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(file), str(started)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(started, caller)
        assert (tmp_path / "acted").read_text().startswith(mark)
        generation = [psutil.Process(caller.pid)]
        for _ in range(first):
            generation = [child for process in generation for child in process.children()]
        for process in generation if first else []:
            process.kill()
    finally:
        caller.kill()
        caller.stderr.close()
        caller.wait()
    return left_after(mark, SECONDS_TO_END)


@pytest.mark.parametrize("place", PLACES)
def test_nothing_outlives_a_killed_caller(tmp_path: Path, place: str, mark: str) -> None:
    assert _killed_caller(tmp_path, EVERYTHING, place, mark) == {}


@pytest.mark.parametrize("first", [1, 2])
def test_nothing_outlives_a_caller_whose_children_are_killed_with_it(tmp_path: Path, first: int, mark: str) -> None:
    """Ray kills the children of a process that it ends, and no further descendants."""
    assert _killed_caller(tmp_path, EVERYTHING, "grading", mark, first) == {}


@pytest.mark.parametrize("act", AGAINST_ONE_SUPERVISOR)
def test_nothing_outlives_a_killed_caller_when_a_reward_attacks_the_supervisor(
    tmp_path: Path, act: str, mark: str
) -> None:
    assert _killed_caller(tmp_path, AGAINST_ONE_SUPERVISOR[act], "grading", mark) == {}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("act", ACTS)
def test_nothing_outlives_a_killed_caller_for_each_act_and_place(
    tmp_path: Path, act: str, place: str, mark: str
) -> None:
    assert _killed_caller(tmp_path, ACTS[act], place, mark) == {}


def test_nothing_outlives_the_time_limit_or_the_manager(tmp_path: Path, mark: str) -> None:
    place = "def f(row):\n    if row['response'] == 'bad': misbehave()\n    return {'overall': 1.0}"
    file, _ = _reward_file(tmp_path, EVERYTHING, place)
    with RewardManager(f"{file}:f", {}, 1, 2.0) as manager:
        assert [score["overall"] for score in manager.score(["good", "bad", "good"], [1] * 3, [""] * 3)] == [1, 0, 1]
        assert manager.kinds == ["ok", "timeout", "ok"]
        # the pool's worker and the two processes above it, at most twice while one worker replaces another
        assert len(processes(mark)) <= 6
    assert left_after(mark, SECONDS_TO_END) == {}


@pytest.mark.parametrize(
    "act",
    [
        *AGAINST_ONE_SUPERVISOR.values(),
        AGAINST_BOTH_SUPERVISORS.replace("SIGNAL", "SIGSTOP"),
        AGAINST_BOTH_SUPERVISORS.replace("SIGNAL", "SIGKILL"),
    ],
)
def test_nothing_outlives_the_manager_when_a_reward_attacks_the_supervisor(tmp_path: Path, act: str, mark: str) -> None:
    file, _ = _reward_file(tmp_path, act, PLACES["grading"])
    with RewardManager(f"{file}:f", {}, 1, 1.0) as manager:
        begin = time.monotonic()
        manager.score(["bad"], [1], [""])
        assert time.monotonic() - begin < 1.0 + _END_LIMIT  # no wait for stopped processes
        assert manager.kinds in (["timeout"], ["crash"])
    assert left_after(mark, SECONDS_TO_END) == {}


def test_forks_of_the_caller_neither_end_workers_nor_keep_them_alive(tmp_path: Path, mark: str) -> None:
    """A fork of the caller has its end of each socket, and its finalizer, which ends the workers at exit."""
    started = tmp_path / "started"
    file = tmp_path / "reward.py"
    file.write_text("REWARD_TYPE = 'sequential'\ndef f(row): return {'overall': 1.0}")
    code = CALLER.replace(
        "open(sys.argv[2]",
        "import os\n"
        "if (fork := os.fork()) == 0: sys.exit()\n"
        "os.waitpid(fork, 0)\n"
        "assert manager.kinds == ['ok'] * 3 and manager.score(['5'], [1], ['5'])[0]['overall'] == 1\n"
        "if (fork := os.fork()) == 0: time.sleep(600)\n"
        "open(sys.argv[3], 'w').write(str(fork))\n"
        "open(sys.argv[2]",
    )
    fork = tmp_path / "fork"
    caller = subprocess.Popen([sys.executable, "-c", code, str(file), str(started), str(fork)], stderr=subprocess.PIPE)
    try:
        _wait_for(started, caller)
    finally:
        caller.kill()
        caller.wait()
        caller.stderr.close()
    time.sleep(SECONDS_TO_END)
    assert list(processes(mark)) == [int(fork.read_text())]  # only the caller's own fork
