"""A run trains without a console, or with one that closes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from short_runs import REPOSITORY, arguments

from echorl_vl.outputs.tracker import read_metrics

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")

SAY = """
import os, sys
from echorl_vl.outputs.command import forgiving_console
with forgiving_console():
    for line in range(20_000):
        print("x", line)
    print("to stderr", file=sys.stderr)
    opened = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    os.write(opened, b"mine")
    os.system("echo from a child")
sys.exit(3)
"""


def shell(command: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command in sh; `$PYTHON` is this interpreter."""
    environment = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment}
    run = ["sh", "-c", command]
    return subprocess.run(run, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "redirection",
    [
        "| true",
        "| head -1",
        "2>&1 | true",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        pytest.param("> /dev/full", marks=FULL),
        pytest.param("> /dev/full 2>&1", marks=FULL),
    ],
)
def test_a_lost_console_does_not_change_the_exit_status(tmp_path, redirection: str) -> None:
    """And no file that is opened later takes the place of stdout."""
    (tmp_path / "say.py").write_text(SAY)
    status = tmp_path / "status"
    done = shell(f"{{ $PYTHON {tmp_path}/say.py {tmp_path}/file; echo $? > {status}; }} {redirection}")
    assert status.read_text() == "3\n", done.stderr
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if "2>" not in redirection and redirection not in (">&-", "| head -1"):
        assert "stdout can't be written" in done.stderr
    if "2>" not in redirection:
        assert "to stderr" in done.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>&1 | true", pytest.param("2> /dev/full", marks=FULL)])
def test_an_error_without_a_console_keeps_its_exit_status(tmp_path, redirection: str) -> None:
    status = tmp_path / "status"
    shell(f"{{ $PYTHON -m echorl_vl.train nowhere.yaml; echo $? > {status}; }} {redirection}")
    assert status.read_text() == "2\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirection", ["2>&1 | true", "| head -1", ">&- 2>&-", pytest.param("> /dev/full", marks=FULL)]
)
def test_a_run_without_a_console_trains(tmp_path, problems, redirection: str) -> None:
    run, status = tmp_path / "run", tmp_path / "status"
    command = shlex.join(arguments(run, problems, ()))
    done = shell(f"{{ $PYTHON -m echorl_vl.train {command}; echo $? > {status}; }} {redirection}")
    assert status.read_text() == "0\n", done.stderr
    assert [row["step"] for row in read_metrics(run)] == [1, 2]
    assert (run / "summary.json").is_file() and (run / "plots/learning.png").is_file()
