"""Two processes compared with one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed here: make test-trl makes an environment that has it")

from echo_by_hand import assert_gradients_equal
from trl_ranks import GROUPS, run
from trl_runs import GROUP, PROMPTS, script

from echorl_vl.core import METRIC_NAMES

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "images"])
def test_two_ranks_have_the_gradient_and_the_metrics_of_one_process(kind, tmp_path):
    """The rows of one group are on both ranks, whose completions are padded to different lengths."""
    lengths = [len(script(prompt, place)) for prompt in PROMPTS[:GROUPS] for place in range(GROUP)]
    assert max(lengths[:6]) != max(lengths[6:])
    out = tmp_path / "rank0.pt"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.run(
        [*launch, str(Path(__file__).with_name("trl_ranks.py")), kind, str(out)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    ranks = torch.load(out)
    assert ranks["ranks"] == 2
    single = run(kind, tmp_path / "single", per_device_train_batch_size=GROUPS * GROUP)
    assert_gradients_equal(ranks["gradient"], single.gradients.mean(), tolerance=1e-5)
    (row,) = [row for row in single.state.log_history if "echo/loss" in row]
    assert row["echo/clips"] == GROUPS
    for name in set(METRIC_NAMES) & set(row):
        assert ranks["logs"][name] == pytest.approx(row[name], rel=1e-5), name
