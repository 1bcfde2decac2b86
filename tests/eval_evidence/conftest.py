"""Setups of the tiny tasks, as small as they go."""

from __future__ import annotations

import pytest

from eval.evidence.setup import Setup, make_setup

SMALL = (
    "trainer.max_steps=2",
    "data.rollout_batch_size=4",
    "data.max_response_length=40",
    "worker.rollout.n=4",
    "worker.actor.global_batch_size=4",
    "worker.actor.micro_batch_size_per_device_for_update=16",
)
"""Overrides of the tiny configurations for runs of a few seconds."""


@pytest.fixture
def setup():
    """`setup(*overrides, task=..., config=..., splits=..., **sizes)`: a small Setup."""

    def make(*overrides: str, task: str | None = "text", config: str | None = None, splits=(), **sizes) -> Setup:
        sizes = {"seeds": (1, 2), "samples": 2, "problems": 4} | sizes
        return make_setup(task, config, [*SMALL, *overrides], splits, **sizes)

    return make
