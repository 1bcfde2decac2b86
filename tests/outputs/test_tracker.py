"""metrics.jsonl: one complete row a step, and after a resume the file of a run that was never stopped."""

from __future__ import annotations

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from echorl_vl.errors import UserError
from echorl_vl.outputs.tracker import Tracker, lost_rows, read_metrics


def run_at(path, step: int | None = None, run_id: str = "0123456789abcdef"):
    """A stand-in for a RunFolder; `step` is the step it resumes from."""
    return SimpleNamespace(
        path=path, metrics_file=path / "metrics.jsonl", resume_step=step or 0, resumed=step is not None, run_id=run_id
    )


def rows_of(path) -> list[dict]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("time") > 1e9 for row in rows)
    return rows


def test_one_row_a_step_on_the_disk_at_once(tmp_path):
    with Tracker(run_at(tmp_path)) as tracker:
        tracker.log(1, {"a": 0.5, "n": 3, "numpy": np.float32(0.25), "flag": np.bool_(True)})
        assert rows_of(tmp_path) == [{"step": 1, "a": 0.5, "n": 3, "numpy": 0.25, "flag": 1}]
        tracker.log(2, {"a": math.nan, "b": math.inf})
        assert rows_of(tmp_path)[1] == {"step": 2, "a": None, "b": None}
        with pytest.raises(ValueError, match="step 1 come after those of step 2"):
            tracker.log(1, {})


def test_a_second_call_adds_to_the_row(tmp_path):
    with Tracker(run_at(tmp_path)) as tracker:
        tracker.log(1, {"a": 1.0})
        tracker.log(2, {"a": 2.0})
        tracker.log(2, {"val/accuracy": 0.5})
        tracker.log(3, {"a": 3.0})
    assert rows_of(tmp_path) == [
        {"step": 1, "a": 1.0},
        {"step": 2, "a": 2.0, "val/accuracy": 0.5},
        {"step": 3, "a": 3.0},
    ]


def test_resume_removes_the_rows_that_are_done_again(tmp_path):
    with Tracker(run_at(tmp_path)) as tracker:
        for step in range(6):
            tracker.log(step, {"a": float(step)})
    whole = rows_of(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "a": 6.')  # killed in the middle of a line
    with Tracker(run_at(tmp_path, 3)) as tracker:
        assert rows_of(tmp_path) == whole[:4]
        for step in (4, 5):
            tracker.log(step, {"a": float(step)})
    assert rows_of(tmp_path) == whole
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_resume_with_a_row_that_lacks_only_its_newline(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "time": 2e9}\n{"step": 2, "time": 2e9}')
    with Tracker(run_at(tmp_path, 2)) as tracker:
        tracker.log(3, {"a": 1.0})
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("torn", [b'{"step": 4, "ti', b'{"step": 4', b"\x00" * 40, b"{", b"nonsense"])
@pytest.mark.parametrize("resumed_at", [3, 2, None])
def test_an_incomplete_last_row_is_removed(tmp_path, torn, resumed_at):
    """A power cut leaves a part of a row or a block of zeros, to which nothing must be appended."""
    rows = [{"step": step, "time": 2e9} for step in (1, 2, 3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_bytes(text.encode() + torn)
    with Tracker(run_at(tmp_path, resumed_at)) as tracker:
        for step in range((resumed_at or 3) + 1, 6):
            tracker.log(step, {"a": 1.0})
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2, 3, 4, 5]


def test_lost_rows_are_noted(tmp_path):
    run, path = run_at(tmp_path, 4), tmp_path / "metrics.jsonl"
    assert "metrics.jsonl is missing" in lost_rows(run)
    path.write_text("")
    assert "lacks 4 rows from step 1 on" in lost_rows(run)
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (0, 1, 2, 4)))
    assert "lacks 1 row from step 3 on" in lost_rows(run)
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3, 4, 5)))
    assert lost_rows(run) is None
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (3, 4)))  # started from a checkpoint
    assert lost_rows(run) is None
    assert lost_rows(run_at(tmp_path)) is None


def test_a_file_that_is_gone_is_an_error(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with Tracker(run_at(folder)) as tracker:
        tracker.log(1, {"a": 1.0})
        folder.rename(tmp_path / "moved")
        with pytest.raises(UserError, match=r"run/metrics\.jsonl is gone"):
            tracker.log(2, {"a": 2.0})
    assert not folder.exists()


def test_a_full_disk_leaves_complete_rows(tmp_path, monkeypatch):
    with Tracker(run_at(tmp_path)) as tracker:
        tracker.log(1, {"a": 1.0})

        class Full:
            """Writes half of a line, then fails."""

            def __init__(self, file):
                self.file, self.wrote = file, False

            def write(self, data):
                if self.wrote:
                    raise OSError(28, "No space left on device")
                self.wrote = True
                return self.file.write(data[: len(data) // 2])

            def __getattr__(self, name):
                return getattr(self.file, name)

        real = tracker._file
        tracker._file = Full(real)
        with pytest.raises(UserError, match="no space left"):
            tracker.log(2, {"a": 2.0})
        tracker._file = real
        assert rows_of(tmp_path) == [{"step": 1, "a": 1.0}]
        tracker.log(2, {"a": 2.0})
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2]


def test_reading_names_the_bad_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        read_metrics(path)
    path.write_text('{"step": 1}\n{"no": 2}\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        read_metrics(tmp_path)
    with pytest.raises(UserError, match="can't be read"):
        read_metrics(tmp_path / "nowhere")


def test_loggers_by_easyr1s_names(tmp_path):
    with pytest.raises(UserError, match=r"unknown logger 'mlflow'.*console, file, tensorboard"):
        Tracker(run_at(tmp_path), ["console", "mlflow"])
    Tracker(run_at(tmp_path), "console").close()


@pytest.mark.parametrize("name", ["wandb", "swanlab"])
def test_a_service_that_is_not_installed_names_the_extra(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'echorl-vl\[{name}\]'"):
        Tracker(run_at(tmp_path), [name])


@pytest.mark.parametrize("name", ["wandb", "swanlab"])
def test_services_get_finite_values_and_the_same_run_after_a_resume(tmp_path, monkeypatch, name):
    calls = []
    service = SimpleNamespace(
        init=lambda **kwargs: calls.append(("init", kwargs)),
        log=lambda values, step: calls.append(("log", step, values)),
        finish=lambda: calls.append(("finish",)),
    )
    monkeypatch.setitem(sys.modules, name, service)
    for resumed in (None, 1):
        with Tracker(run_at(tmp_path, resumed), [name], "project", "experiment", {"data": {"seed": 1}}) as tracker:
            tracker.log(1 if resumed is None else 2, {"a": 1.0, "b": math.nan})
    inits = [call[1] for call in calls if call[0] == "init"]
    assert inits[0] == inits[1]
    assert inits[0]["resume"] == "allow"
    assert inits[0]["project"] == "project"
    assert inits[0]["config"] == {"data": {"seed": 1}}
    assert len(inits[0]["id"]) == (21 if name == "swanlab" else 16)
    assert [call[1:] for call in calls if call[0] == "log"] == [(1, {"a": 1.0}), (2, {"a": 1.0})]
    assert calls[-1] == ("finish",)


def test_tensorboard_after_a_resume_has_each_step_once(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Tracker(run_at(tmp_path), ["tensorboard"]) as tracker:
        for step in range(1, 6):
            tracker.log(step, {"a": float(step)})
    with Tracker(run_at(tmp_path, 3), ["tensorboard"]) as tracker:
        for step in (4, 5, 6):
            tracker.log(step, {"a": 10.0 * step})
    accumulator = events.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    values = [(event.step, event.value) for event in accumulator.Scalars("a")]
    assert values == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0), (6, 60.0)]


@pytest.mark.parametrize("step", ["Infinity", "-Infinity", "NaN", "1e300", "1" + "0" * 400, "-1", "1.5", "true", '"2"'])
def test_a_step_that_is_no_step_is_an_error_with_its_line(tmp_path, step):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": {step}}}\n{{"step": 1}}\n')
    with pytest.raises(UserError, match=r"line 1: not a row of metrics.*a whole number from 0"):
        read_metrics(path)


def test_a_line_that_is_nested_too_deep_is_an_error_with_its_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("[" * 100_000 + '\n{"step": 1}\n')
    with pytest.raises(UserError, match="line 1: not a row"):
        read_metrics(tmp_path)
