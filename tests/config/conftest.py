"""A small configuration that loads, and a way to write others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MINIMAL = """\
data:
  train_files: owner/problems@train
  rollout_batch_size: 8
worker:
  actor:
    global_batch_size: 8
    model:
      model_path: owner/model
  rollout:
    n: 4
  reward:
    reward_function: reward.py:compute_score
trainer:
  logger: [console, file]
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a file `config.yaml` beside an empty `reward.py` and returns its path."""
    (tmp_path / "reward.py").write_text("def compute_score(rows):\n    return []\n")

    def write_text(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


@pytest.fixture
def minimal(write: Callable[[str], Path]) -> Path:
    return write(MINIMAL)
