"""Base algorithms by name in whole runs of EasyR1 on a CPU."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
import torch

pytestmark = pytest.mark.slow

EASY = """
from zlib import crc32

from echorl_vl.rewards.geometry import compute_score as strict

def compute_score(rows):
    scores = strict(rows)
    for row, score in zip(rows, scores):
        if crc32((row["ground_truth"] + row["response"]).encode()) % 2 == 0:  # half of all, for any answer
            score |= {"overall": 0.9 + 0.1 * score["format"], "accuracy": 1.0}
    return scores
"""


def grouped(run, step: int) -> list[list[dict]]:
    groups: dict[int, list[dict]] = {}
    for row in run.rollouts(step):
        groups.setdefault(row["group"], []).append(row)
    return list(groups.values())


def relative(rewards: list[float]) -> torch.Tensor:
    """GRPO's advantages of a group."""
    values = torch.tensor(rewards)
    return (values - values.mean()) / (values.std() + 1e-6)


def test_dapo_penalizes_length_only_in_training(dry_run, tmp_path):
    reward = tmp_path / "easy.py"
    reward.write_text(EASY)
    options = (
        "algorithm.options={overlong_share: 1.0, overlong_factor: 0.5}"  # a penalty that grows from the first token
    )
    run = dry_run("algorithm.name=dapo", options, f"worker.reward.reward_function={reward}:compute_score")
    assert run.status == 0, run.output[-3000:]
    differences = []
    for step, metrics in enumerate(run.training, 1):
        assert metrics["group/all_fail"] == metrics["group/all_success"] == 0
        for rows in grouped(run, step):
            graded = [row["reward_overall"] for row in rows]
            shaped = [row["reward_overall"] - 0.5 * len(row["tokens"]) / 64 for row in rows]
            found = torch.tensor([row["advantage"] for row in rows])
            torch.testing.assert_close(found, relative(shaped), rtol=1e-3, atol=1e-4)
            differences.append((found - relative(graded)).abs().max())
    assert max(differences) > 1e-2
    score = next(row for row in run.metrics if "val/reward_score" in row)
    assert score["val/reward_score"] == pytest.approx(score["val/overall_reward"])


def test_luffy_adds_a_demonstration_to_each_training_group(dry_run, problems):
    run = dry_run("algorithm.name=luffy", "data.demonstration_key=solution", "data.max_response_length=96")
    assert run.status == 0, run.output[-3000:]
    assert "24 usable demonstrations" in run.output
    solutions = {(row["answer"], row["solution"]) for row in pq.read_table(problems["train"]).to_pylist()}
    for step, metrics in enumerate(run.training, 1):
        assert 0 < metrics["expert/prob"] < 1 and metrics["echo/clips"] > 0 and metrics["actor/grad_norm"] > 0
        for rows in grouped(run, step):
            assert len(rows) == 4
            (demonstration,) = [row for row in rows if not any(row["entropies"])]
            assert (demonstration["answer"], demonstration["response"]) in solutions
            assert demonstration["verified"]
            assert not demonstration["truncated"] and not demonstration["is_clip_source"]
            found = torch.tensor([row["advantage"] for row in rows])
            rewards = [row["reward_overall"] for row in rows]
            expected = relative(rewards) if len(set(rewards)) > 1 else torch.zeros(4)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    own = [row["verified"] for row in run.rollouts(1) if any(row["entropies"])]
    assert len(own) == 12 and run.training[0]["reward/accuracy"] == pytest.approx(sum(own) / 12)
    assert next(row for row in run.metrics if "val/problems" in row)["val/problems"] == 8


@pytest.mark.parametrize(
    "overrides",
    [
        # A KL in the reward would be lost on SRFT, so the configuration check requires it in the loss.
        [
            *("srft", "data.demonstration_key=solution", "data.max_response_length=96"),
            *("algorithm.disable_kl=false", "algorithm.use_kl_loss=true"),
        ],
        ["dr_grpo", "worker.actor.entropy_coef=0.001", "algorithm.disable_kl=false", "algorithm.use_kl_loss=true"],
        # From the second step, rewards include a KL, and uniform groups stay uniform.
        ["reinforce_rej", "algorithm.disable_kl=false", "worker.actor.optim.lr=1e-3", "trainer.max_steps=2"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_other_algorithms_take_a_step(dry_run, overrides):
    name, *rest = overrides
    run = dry_run(f"algorithm.name={name}", "trainer.max_steps=1", *rest)
    assert run.status == 0, run.output[-3000:]
    for step, metrics in enumerate(run.training, 1):
        assert metrics["actor/grad_norm"] > 0 and metrics["echo/loss"] > 0
        if name == "srft":
            assert 0 < metrics["expert/prob"] < 1
            continue
        groups = grouped(run, step)
        rewards = torch.tensor([[row["reward_overall"] for row in rows] for rows in groups])
        uniform = (rewards == rewards[:, :1]).all(1, keepdim=True)
        mean = rewards.mean(1, keepdim=True) if name == "dr_grpo" else 0.0
        found = torch.tensor([[row["advantage"] for row in rows] for rows in groups])
        expected = (rewards - mean).masked_fill(uniform, 0.0)
        tolerance = 1e-4 if step == 1 else 0.3  # for the KL
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=tolerance)
        assert (found[uniform[:, 0]] == 0).all() and (name == "dr_grpo" or uniform.any())
    if name == "reinforce_rej":
        assert (found - expected).abs().max() > 0  # there was a KL
