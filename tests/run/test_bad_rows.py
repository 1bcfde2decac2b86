"""Invalid rows are left out of a run, also after a kill; a resumed run reports a training set that has changed."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from echorl_vl.engines.local import trainer as local_trainer

pytestmark = pytest.mark.timeout(400)


class Killed(BaseException):
    """Simulates a kill within a process."""


@pytest.fixture
def broken(problems, tmp_path):
    """The problems with four invalid rows, and optionally a fifth."""

    def make(more: bool = False):
        rows = pq.read_table(problems).to_pylist()
        image = rows[3]["images"][0]["bytes"]
        rows[3]["images"][0]["bytes"] = image[: len(image) // 2]
        rows[8]["problem"] += "<|im_end|>"
        rows[11]["answer"] = ""
        rows[20]["problem"] += "<image>"
        if more:
            rows[23]["answer"] = ""
        path = tmp_path / "broken.parquet"
        pq.write_table(type(pq.read_table(problems)).from_pylist(rows), path)
        return path

    return make


@pytest.mark.slow
def test_a_resumed_run_leaves_out_the_same_rows(run, broken, monkeypatch, tmp_path) -> None:
    path = broken()
    stopped = run(f"data.train_files={path}", folder=tmp_path / "stopped")
    assert stopped.status == 2 and "4 of 24 rows can't be used" in stopped.output
    assert f"{path}, row 11, answer: is empty" in stopped.output and "row 20, problem: has 2 <image>" in stopped.output
    settings = (f"data.train_files={path}", "data.bad_rows=drop", "trainer.max_steps=3", "trainer.save_freq=1")
    whole = run(*settings, folder=tmp_path / "whole")
    assert whole.status == 0, whole.output
    assert "skipped 4 of 24 rows" in whole.output
    assert f"{path}, row 3, images[0]: " in whole.output and f"{path}, row 8, problem: contains" in whole.output
    assert "20 training problems" in whole.output
    original, folder = local_trainer.Trainer._train_step, tmp_path / "killed"

    def killed(self) -> None:
        if self.step == 2:
            raise Killed
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(local_trainer.Trainer, "_train_step", killed)
        with pytest.raises(Killed):
            run(*settings, folder=folder)
    again = run(*settings, folder=folder)
    assert again.status == 0 and "resuming from global_step_2" in again.output, again.output
    assert again.repeatable() == whole.repeatable() and "their order differs" not in again.output
    broken(more=True)
    longer = run(*settings[:2], "trainer.max_steps=4", "trainer.save_freq=1", folder=folder)
    assert longer.status == 0, longer.output
    assert "the training set had 20 problems and has 19 now: from here on, their order differs" in longer.output
