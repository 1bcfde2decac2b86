"""Small setups of the tiny tasks."""

from __future__ import annotations

import pytest
from small_runs import SMALL

from echorl_vl.evidence.setup import Setup, make_setup


@pytest.fixture
def setup():
    """Return `setup(*overrides, task=..., config=..., splits=..., **sizes)`, which makes a small Setup."""

    def make(*overrides: str, task: str | None = "text", config: str | None = None, splits=(), **sizes) -> Setup:
        sizes = {"seeds": (1, 2), "samples": 2, "problems": 4} | sizes
        return make_setup(task, config, [*SMALL, *overrides], splits, **sizes)

    return make
