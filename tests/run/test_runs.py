"""Whole runs: their files, their metrics, and some of their settings."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from echorl_vl.core import METRIC_NAMES
from echorl_vl.engines.local.policy import Policy
from echorl_vl.outputs.rollout_files import read_rollouts
from echorl_vl.outputs.tracker import read_metrics

ALWAYS_CORRECT = """
REWARD_NAME = "always_correct"
REWARD_TYPE = "sequential"

def compute_score(reward_input):
    return {"overall": 1.0, "format": 0.0, "accuracy": 1.0}
"""

EASYR1_STYLE = '''
"""A reward file for EasyR1: batch type by default, any function name, keyword arguments."""

import re

def score_all(reward_inputs, bonus=0.0):
    scores = []
    for item in reward_inputs:
        found = re.findall(r"boxed\\{([^}]*)\\}", item["response"])
        correct = float(bool(found) and found[-1] == item["ground_truth"])
        scores.append({"overall": correct + bonus, "accuracy": correct, "length": float(item["response_length"])})
    return scores
'''


@pytest.mark.slow
def test_a_run_writes_metrics_rollouts_plots_and_checkpoints(run) -> None:
    done = run("trainer.logger=[console, file, tensorboard]", "trainer.save_freq=1", "echo.log_grad_share=true")
    assert done.status == 0, done.output
    rows = done.metrics
    assert [row["step"] for row in rows] == [1, 2]
    of_clips = {"echo/loss", "echo/grad_share", "echo/clip_tokens", "echo/clip_share", "echo/clip_step_entropy"}
    optional = set() if rows[0]["echo/clips"] else of_clips
    assert set(METRIC_NAMES) - optional <= set(rows[0])
    for name in ("timing_s/gen", "timing_s/update_actor", "timing_s/step", "perf/throughput", "perf/max_memory_gb"):
        assert rows[0][name] > 0
    names = {path.name for path in done.folder.iterdir()}
    assert {"config.yaml", "environment.json", "metrics.jsonl", "summary.json", "tensorboard", "plots"} <= names
    assert {"global_step_1", "global_step_2", "rollouts"} <= names
    assert list((done.folder / "tensorboard").iterdir()) and list((done.folder / "plots").glob("*.png"))
    environment = json.loads((done.folder / "environment.json").read_text())
    assert environment["torch"] and environment["transformers"] and environment["device"] == "cpu"
    rollouts = read_rollouts(done.folder / "rollouts" / "step_000001.parquet")
    assert len(rollouts) == 16 and rollouts[0]["question"].startswith("<image>")
    assert "metrics.jsonl" in done.output and "global_step_2" in done.output

    folder = done.folder / "global_step_2/actor/huggingface"
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) < 3e6 and "<|image_pad|>" in processor.tokenizer.get_vocab()


@pytest.mark.slow
def test_the_same_command_after_a_finished_run_starts_a_new_one(run) -> None:
    first = run("trainer.max_steps=1")
    again = run("trainer.max_steps=1")
    assert first.status == again.status == 0
    assert "run_2" in again.output and (first.folder.parent / "run_2" / "summary.json").is_file()


@pytest.mark.slow
def test_all_success_groups_have_a_gradient_of_the_echo_term_alone(run, tmp_path) -> None:
    (tmp_path / "always.py").write_text(ALWAYS_CORRECT)
    done = run(
        f"worker.reward.reward_function={tmp_path / 'always.py'}:compute_score",
        "echo.log_grad_share=true",
        "echo.include_truncated=true",
    )
    assert done.status == 0, done.output
    for row in done.metrics:
        assert row["group/all_success"] == 1.0 and row["adv/zero_share"] == 1.0
        assert row["actor/policy_grad_norm"] == 0.0
        assert row["echo/grad_norm"] > 0 and row["actor/grad_norm"] > 0
        assert row["echo/clips"] == 4
    sources = [row for row in read_rollouts(done.folder / "rollouts/step_000001.parquet") if row["is_clip_source"]]
    own_entropy = sum(row["clip_step_entropy"] for row in sources) / len(sources)
    assert done.metrics[0]["echo/clip_step_entropy"] == pytest.approx(own_entropy)


@pytest.mark.slow
def test_steps_without_a_clip_say_why(run, tmp_path) -> None:
    (tmp_path / "always.py").write_text(ALWAYS_CORRECT)
    reward = f"worker.reward.reward_function={tmp_path / 'always.py'}:compute_score"
    done = run(reward, "data.max_response_length=2", "echo.start_step=1")
    assert done.status == 0, done.output
    first, second = (line for line in done.output.splitlines() if line.startswith("step "))
    assert "no clip (term not started, echo.start_step is 1)" in first
    assert "no clip (16 verified rollouts, all truncated)" in second
    assert done.summary["echo/no_clip"] == "16 verified rollouts, all truncated"
    assert not [name for row in done.metrics for name in row if name.startswith("echo/clip_")]


@pytest.mark.slow
def test_the_echo_term_takes_no_forward_pass(run, monkeypatch) -> None:
    counts = []
    load = Policy.load.__func__

    def remember(cls, *args, **kwargs):
        policy = load(cls, *args, **kwargs)
        counts.append(policy)
        return policy

    monkeypatch.setattr(Policy, "load", classmethod(remember))
    for coef, name in ((0.001, "on"), (0, "off")):
        assert run(f"echo.coef={coef}", f"trainer.experiment_name={name}", "trainer.max_steps=1").status == 0
    on, off = counts
    assert on.forward_calls == off.forward_calls == 2
    assert (on.prefill_calls, on.decode_calls, on.vision_calls) == (
        off.prefill_calls,
        off.decode_calls,
        off.vision_calls,
    )


def test_a_reward_file_of_easyr1_works_unchanged(run, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(EASYR1_STYLE)
    done = run(
        f"worker.reward.reward_function={tmp_path / 'mine.py'}:score_all",
        "worker.reward.reward_function_kwargs={bonus: 0.25}",
        "trainer.max_steps=1",
    )
    assert done.status == 0, done.output
    row = done.metrics[0]
    assert row["reward/overall"] == pytest.approx(row["reward/accuracy"] + 0.25) and row["reward/length"] > 1


SOMETIMES = """
import time
REWARD_TYPE = "sequential"

def slow(row):
    if row["response_length"] % 2:
        time.sleep(60)
    return {"overall": 1.0, "accuracy": 1.0}

def hangs(row):
    time.sleep(60)

def raises(row):
    if row["response_length"] % 2:
        raise ValueError("an odd length")
    return {"overall": 1.0, "accuracy": 1.0}
"""


@pytest.mark.slow
def test_answers_without_a_score_are_in_the_step_line_and_a_step_without_a_score_stops(run, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(SOMETIMES)
    reward = f"worker.reward.reward_function={tmp_path / 'mine.py'}"
    limits = ("worker.reward.time_limit=0.3", "trainer.max_steps=1")
    some = run(f"{reward}:slow", *limits, folder=tmp_path / "some")
    lost = some.metrics[0]["reward/timeouts"]
    assert some.status == 0 and 0 < lost < 16
    assert f"warning: answers not scored: {lost:.0f} timed out" in some.output
    every = run(f"{reward}:hangs", *limits, folder=tmp_path / "every")
    assert every.status == 2
    assert "mine.py:hangs: each of the 16 answers of this step took longer than worker.reward.time_limit = 0.3 s" in (
        every.output
    )


@pytest.mark.slow
def test_a_reward_that_raises_stops_the_run_or_scores_zero(run, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(SOMETIMES)
    reward = f"worker.reward.reward_function={tmp_path / 'mine.py'}:raises"
    stopped = run(reward, folder=tmp_path / "stop")
    assert stopped.status == 2 and "mine.py:raises raised an error: ValueError: an odd length" in stopped.output
    # The same run resumes with the other setting.
    done = run(reward, "worker.reward.on_error=zero", folder=tmp_path / "stop")
    assert done.status == 0, done.output
    row = done.metrics[0]
    assert row["reward/errors"] == 16 * (1 - row["reward/accuracy"]) > 0
    assert f"{row['reward/errors']:.0f} raised" in done.output


@pytest.mark.slow
def test_kl_to_a_reference_starts_at_zero(run) -> None:
    done = run("algorithm.disable_kl=false", "algorithm.use_kl_loss=true", "algorithm.kl_penalty=low_var_kl")
    assert done.status == 0, done.output
    first, second = done.metrics
    assert first["actor/kl_loss"] == pytest.approx(0, abs=1e-6) and second["actor/kl_loss"] >= 0


@pytest.mark.slow
def test_lora_trains_adapters_and_saves_a_merged_model(run) -> None:
    done = run(
        "worker.actor.model.lora.rank=4",
        "worker.actor.model.lora.exclude_modules='.*visual.*'",
        "worker.actor.optim.lr=0.01",
        "echo.coef=0.1",
    )
    assert done.status == 0, done.output
    folder = done.folder / "global_step_2/actor"
    assert (folder / "lora_adapter/adapter_model.safetensors").is_file()
    merged = AutoModelForImageTextToText.from_pretrained(folder / "huggingface").state_dict()
    base = AutoModelForImageTextToText.from_pretrained("echorl_vl/tiny/model").state_dict()
    assert merged.keys() == base.keys()
    changed = [name for name in base if not torch.equal(merged[name], base[name])]
    assert changed and not any("visual" in name for name in changed)


@pytest.mark.slow
def test_a_saved_checkpoint_is_validated_on_request(run, problems) -> None:
    first = run("trainer.max_steps=1", "trainer.save_model_only=true")
    checked = run(
        "trainer.val_only=true",
        f"data.val_files={problems}",
        f"trainer.load_checkpoint_path={first.folder / 'global_step_1'}",
    )
    assert checked.status == 0, checked.output
    [row] = read_metrics(first.folder.parent / "run_2")
    assert row["step"] == 1 and row["val/problems"] == 24
