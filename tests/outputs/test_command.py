"""Commands whose output fails, and invalid options of `show`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_run import metric_rows, write_metrics, write_rollouts_of

from echorl_vl.outputs import show
from echorl_vl.outputs.command import OUTPUT_LOST, command, job

REPOSITORY = Path(__file__).resolve().parents[2]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_metrics(folder, metric_rows(3))
    write_rollouts_of(folder, 3, prompts=2, n=3)
    return folder


def shell(line: str, folder: Path) -> tuple[int, str]:
    """Exit status and stderr of the command before `::`, with the redirection or pipe after it."""
    command, _, redirection = line.partition("::")
    environment = os.environ | {"PYTHON": sys.executable, "RUN": str(folder), "OMP_NUM_THREADS": "1"}
    script = f"{{ {command}; echo $? > $RUN/status; }} {redirection}"
    done = subprocess.run(["sh", "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    return int((folder / "status").read_text()), done.stderr


@FULL
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("$PYTHON -m echorl_vl.outputs.show $RUN", OUTPUT_LOST),
        ("$PYTHON -m echorl_vl.train --help", OUTPUT_LOST),
        ("$PYTHON -m echorl_vl.train configs/geo3k_tiny.yaml --print-config", OUTPUT_LOST),
        ("$PYTHON -m echorl_vl.init $RUN/starter.yaml", 0),
        ("$PYTHON -m echorl_vl.generators.geometry3k.generate --size 1 --out $RUN/problems.parquet", 0),
        pytest.param("$PYTHON -m echorl_vl.outputs.plots $RUN", 0, marks=pytest.mark.slow),
        pytest.param("$PYTHON -m eval.run --list", 0, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_behind_stdout_is_reported_without_a_traceback(run: Path, line: str, status: int) -> None:
    found, stderr = shell(f"{line}:: > /dev/full", run)
    assert "Traceback" not in stderr and "Exception ignored" not in stderr
    assert "stdout can't be written (No space left on device)" in stderr
    assert found == status


@pytest.mark.parametrize("redirection", ["| true", ">&-"])
def test_a_reader_that_has_exited_is_no_failure(run: Path, redirection: str) -> None:
    status, stderr = shell(f"$PYTHON -m echorl_vl.outputs.show $RUN --count 99:: {redirection}", run)
    assert "Traceback" not in stderr and status == 0


def test_ctrl_c_ends_a_command_with_its_status(capsys) -> None:
    def main() -> int:
        raise KeyboardInterrupt

    assert command(main)() == job(main)() == 130
    assert capsys.readouterr().err == "stopped\nstopped\n"


@pytest.mark.parametrize("count", ["-1", "0", "x", "1.5"])
def test_an_invalid_count_is_refused(run: Path, capsys, count: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        show.main([str(run), f"--count={count}"])
    assert stopped.value.code == 2
    assert f"--count: expected a whole number of at least 1, got '{count}'" in capsys.readouterr().err


def test_a_group_that_is_not_there_is_an_error(run: Path, capsys) -> None:
    assert show.main([str(run), "--group", "7"]) == 2
    assert "has no group 7; it has 0, 1" in capsys.readouterr().err
    assert show.main([str(run), "--only", "truncated"]) == 0
    assert "none of the 6 rollouts matches --only truncated" in capsys.readouterr().out


def test_answers_are_correct_or_incorrect(run: Path, capsys) -> None:
    """The filters `right` and `wrong` of older versions still work."""
    shown = {}
    for word in ("correct", "right", "incorrect", "wrong"):
        assert show.main([str(run), "--only", word]) == 0
        shown[word] = capsys.readouterr().out
    assert shown["correct"] == shown["right"] != shown["incorrect"] == shown["wrong"]
    assert "ground truth: " in shown["correct"]
    for text in shown.values():
        assert not any(f"{word} answer" in text for word in ("right", "wrong"))
    with pytest.raises(SystemExit):
        show.main(["--help"])
    out = capsys.readouterr().out
    assert "correct" in out and "right" not in out and "wrong" not in out and "held" not in out
