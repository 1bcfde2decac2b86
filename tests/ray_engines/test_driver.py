"""Waiting for the driver of a run on Ray: a UserError or a dead process ends it with a message of one line."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from echorl_vl.errors import UserError

ray = pytest.importorskip("ray", reason="Ray comes with EasyR1 or verl; see docs/easyr1.md")

from ray_processes import Driver, Writer  # noqa: E402  (imports Ray, as the next two)

from echorl_vl.engines.ray import driver as module  # noqa: E402
from echorl_vl.engines.ray.driver import wait_for_driver  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])  # for ray_processes
    environment = {"env_vars": {"PYTHONPATH": here}}
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture
def driver():
    actor = ray.remote(num_cpus=1)(Driver).remote()
    yield actor
    ray.kill(actor)


@pytest.fixture
def writer():
    actor = ray.remote(num_cpus=1)(Writer).remote()
    yield actor
    ray.kill(actor)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(module, "GRACE_SECONDS", 1.0)


def kill(actor) -> int:
    pid = ray.get(actor.pid.remote())
    os.kill(pid, signal.SIGKILL)
    return pid


def error_of(task, tmp_path: Path) -> str:
    with pytest.raises(UserError) as caught:
        wait_for_driver(task, tmp_path / "stop")
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_dead_process_that_the_driver_waits_for_is_named(driver, writer, tmp_path):
    pid = ray.get(writer.pid.remote())  # before it sleeps, and answers nothing
    task = driver.waits.remote(writer)
    os.kill(pid, signal.SIGKILL)
    message = error_of(task, tmp_path)
    assert f"a process of this run died: Writer (pid {pid}" in message
    assert str(tmp_path) in message and "The same command resumes from" in message


def test_dead_process_ends_the_run_if_nothing_waits_for_it(driver, writer, tmp_path):
    task = driver.polls.remote(600)
    pid = kill(writer)
    assert f"a process of this run died: Writer (pid {pid}" in error_of(task, tmp_path)


def test_dead_driver_is_named(driver, tmp_path):
    task = driver.polls.remote(600)
    (pid,) = [actor["Pid"] for actor in living("Driver")]
    os.kill(pid, signal.SIGKILL)
    assert f"a process of this run died: Driver (pid {pid}" in error_of(task, tmp_path)


def living(name: str) -> list[dict]:
    from ray._private import state

    deadline = time.time() + 60
    while time.time() < deadline:
        found = [actor for actor in state.actors().values() if actor["ActorClassName"].endswith(name)]
        if found := [actor for actor in found if actor["State"] == "ALIVE"]:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {name} was started")


def test_user_error_of_a_process_is_shown_without_traceback(driver, writer, tmp_path):
    assert error_of(driver.works.remote(writer), tmp_path) == "row 3 is invalid"
    assert error_of(driver.works.remote(writer, "image"), tmp_path) == "row 3, images[0]: torn"


def test_user_error_at_the_start_of_a_process_is_shown_without_traceback(driver, tmp_path):
    for fault, line in (("reward", "config.yaml: no such reward"), ("image", "row 3, images[0]: torn")):
        bad = ray.remote(num_cpus=1)(Writer).remote(fault)
        assert error_of(driver.waits.remote(bad), tmp_path) == line


def test_other_exceptions_keep_their_traceback(driver, tmp_path):
    with pytest.raises(RuntimeError, match="a bug"):
        wait_for_driver(driver.fails.remote(), tmp_path / "stop")


def test_process_that_is_ended_on_purpose_is_not_reported(driver, tmp_path):
    writers = [ray.remote(num_cpus=1)(Writer).remote() for _ in range(2)]
    ray.get([writer.pid.remote() for writer in writers])
    ray.kill(writers.pop())
    writers.clear()
    assert wait_for_driver(driver.polls.remote(5), tmp_path / "stop") is True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_stops_after_the_step_and_second_at_once(driver, tmp_path, caplog, number):
    """Also if SIGINT is ignored, as in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen = []

    def press() -> None:
        os.kill(os.getpid(), number)
        while not (tmp_path / "stop").exists():
            time.sleep(0.05)
        seen.append("asked")
        os.kill(os.getpid(), number)

    timer = threading.Timer(1.0, press)
    timer.start()
    try:
        assert wait_for_driver(driver.polls.remote(600), tmp_path / "stop") is False
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert seen == ["asked"] and "stopping after this step" in caplog.text
