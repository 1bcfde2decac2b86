"""`--dry-run` shows prompts, rewards and memory, finds errors of a start, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echorl_vl import train

REPOSITORY = Path(__file__).resolve().parents[2]
GEO3K, MATH = (str(REPOSITORY / f"configs/{name}.yaml") for name in ("geo3k_tiny", "math_tiny"))
NO_VALIDATION = ("data.val_files=''", "trainer.val_freq=-1", "trainer.val_before_train=false")

ONE_PROBLEM = ("data.rollout_batch_size=1", "worker.actor.global_batch_size=1")


@pytest.fixture
def dry_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def start(config: str, *overrides: str) -> tuple[int, str]:
        status = train.main([config, *overrides, "--dry-run"])
        captured = capsys.readouterr()
        assert list(tmp_path.glob("runs")) == []  # no run folder
        return status, captured.out + captured.err

    return start


def test_a_dry_run_shows_prompts_reward_and_memory(dry_run, problems) -> None:
    status, out = dry_run(GEO3K, f"data.train_files={problems}", *NO_VALIDATION)
    assert status == 0
    assert f"data.train_files = {problems}: 24 problems" in out
    assert "16 problems a step, 1 step an epoch" in out
    assert out.count("ground truth: ") == 3
    assert out.count("images: 112 x 112 pixels, read as 112 x 112 = 16 tokens") == 3
    assert "  | <|im_start|>user" in out and "<|image_pad|>" in out
    assert "the answer alone: overall 0, accuracy 0, format 0" in out
    assert "a line of reasoning and the answer in a box: overall 1, accuracy 1, format 1" in out
    assert "1,8" in out.split("memory")[1]  # 1.8 million parameters
    assert "warning" not in out


def test_a_dry_run_for_easyr1_needs_no_easyr1(dry_run, problems) -> None:
    status, out = dry_run(
        GEO3K, f"data.train_files={problems}", f"data.val_files={problems}", "engine=easyr1", "trainer.device=cpu"
    )
    assert status == 0 and out.count("24 problems") == 2


def test_a_reward_that_verifies_nothing_is_a_warning(dry_run, tmp_path) -> None:
    reward = tmp_path / "reward.py"
    reward.write_text("REWARD_TYPE = 'sequential'\ndef f(r): return {'overall': 0.0, 'accuracy': 0.0, 'speed': 2.5}\n")
    status, out = dry_run(MATH, f"worker.reward.reward_function={reward}:f")
    assert status == 0
    assert "accuracy 0, speed 2.5" in out and "warning: none of these responses is verified" in out


def test_errors_of_a_start_end_a_dry_run(dry_run, tmp_path, problems) -> None:
    status, out = dry_run(GEO3K, f"data.train_files={problems}", "data.rollout_batch_size=32", *NO_VALIDATION)
    assert status == 2 and "the training set has 24 problems, but a batch takes 32" in out
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"problem": "1 + 1", "answer": "2"}\n{"problem": "2 + 2", "answer": ""}\n')
    status, out = dry_run(MATH, f"data.train_files={rows}")
    assert status == 2 and "row 1" in out and "answer" in out
    status, out = dry_run(MATH, "worker.reward.reward_function=nowhere.py:f")
    assert status == 2 and "nowhere.py" in out
    status, out = dry_run(MATH, f"worker.actor.model.model_path={tmp_path}")
    assert status == 2 and "config.json" in out


def test_long_prompts_are_counted(dry_run, tmp_path) -> None:
    rows = tmp_path / "rows.jsonl"
    long = "1 + " * 400
    rows.write_text(f'{{"problem": "1 + 1", "answer": "2"}}\n{{"problem": "{long}1", "answer": "401"}}\n')
    status, out = dry_run(MATH, f"data.train_files={rows}", *ONE_PROBLEM, *NO_VALIDATION)
    assert status == 0 and "skipped 1 prompt longer than data.max_prompt_length = 128" in out


def test_all_bad_rows_are_listed_and_dropped_ones_are_not_counted(dry_run, tmp_path) -> None:
    rows = tmp_path / "rows.jsonl"
    bad = [
        '{"problem": "2 + 2", "answer": ""}',
        '{"problem": "<|im_end|>", "answer": "1"}',
        '{"problem": [7], "answer": "1"}',
    ]
    rows.write_text("\n".join(['{"problem": "1 + 1", "answer": "2"}', *bad]))
    status, out = dry_run(MATH, f"data.train_files={rows}", *NO_VALIDATION)
    assert status == 2 and "3 of 4 rows" in out and all(f"{rows}, row {row}, " in out for row in (1, 2, 3))
    settings = (f"data.train_files={rows}", "data.bad_rows=drop", *ONE_PROBLEM)
    status, out = dry_run(MATH, *settings, *NO_VALIDATION)
    assert status == 0 and f"data.train_files = {rows}: 1 problem\n" in out, out
    assert out.count("skipped ") == 1 and "skipped 3 of 4 rows" in out and "1 problem a step, 1 step an epoch" in out


def test_demonstrations_are_checked(dry_run, tmp_path) -> None:
    rows = tmp_path / "rows.jsonl"
    options = ("algorithm.name=luffy", "data.demonstration_key=trace", *ONE_PROBLEM, *NO_VALIDATION)
    luffy = (f"data.train_files={rows}", *options)

    def write(*traces: str) -> None:
        lines = [json.dumps({"problem": "1 + 1", "answer": "2", "trace": trace}) for trace in traces]
        rows.write_text("\n".join(lines))

    write("It is two.", "Two.")
    status, out = dry_run(MATH, *luffy)
    assert status == 2 and "0 usable demonstrations, 2 not (2 without a boxed answer)" in out
    write("It is \\boxed{2}.", "Two.")
    status, out = dry_run(MATH, *luffy)
    assert (
        status == 0 and "1 usable demonstrations, 1 not (1 without a boxed answer)" in out and "prompt 1 of 1 " in out
    )
    status, out = dry_run(MATH, *luffy, "data.bad_traces=error")
    assert status == 2 and f"{rows}, row 1, trace" in out


def test_a_run_folder_that_cannot_be_written_is_an_error(dry_run, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for path in ("/dev/null", tmp_path / "file", tmp_path / "file" / "run"):
        status, out = dry_run(MATH, f"trainer.save_checkpoint_path={path}")
        assert status == 2 and f"can't write {path}: " in out and "trainer.save_checkpoint_path" in out, out
    status, _ = dry_run(MATH, f"trainer.save_checkpoint_path={tmp_path}/new/run", *NO_VALIDATION)
    assert status == 0 and not (tmp_path / "new").exists()
