"""A custom selector is one named function, here in a test and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from short_runs import REPOSITORY

from echorl_vl.core import SELECTORS, EchoConfig, mine_echo_clips, register_selector

ENTROPY = torch.tensor([[0.1, 0.9, 0.2, 0.2], [0.3, 0.3, 0.4, 0.5], [0.8, 0.1, 0.1, 0.1], [0.6, 0.5, 0.4, 0.3]])
STEPS = torch.tensor([[0, 1, 2, 2], [0, 0, 1, 1], [0, 1, 2, 2], [0, 1, 2, -1]])
GROUPS, VERIFIED = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, False, True])
SMALL = ("trainer.max_steps=2", "echo.include_truncated=true", "echo.normalize_by=clips")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Unregisters the selectors of a test."""
    monkeypatch.setattr("echorl_vl.core.selectors.SELECTORS", dict(SELECTORS))
    monkeypatch.setattr("echorl_vl.core.selectors._FILES", {})


def solved(folder: Path) -> str:
    """A reward with accuracy 1 for every answer."""
    reward = "def compute_score(rows):\n    return [{'overall': 1.0, 'accuracy': 1.0} for _ in rows]\n"
    (folder / "solved.py").write_text(reward)
    return f"worker.reward.reward_function={folder / 'solved.py'}:compute_score"


@pytest.mark.slow
def test_a_registered_function_is_a_selector(run, tmp_path) -> None:
    @register_selector("toy")
    def toy(step_entropy, eligible, groups, config, generator):
        """The first eligible step of a batch."""
        rows, steps = eligible.nonzero()[:1].unbind(1)
        return rows, steps, torch.full(rows.shape, 0.5)

    clips = mine_echo_clips(ENTROPY, STEPS, GROUPS, VERIFIED, EchoConfig(select="toy"))
    assert (clips.rows.tolist(), clips.ends.tolist(), clips.lengths.tolist()) == ([0], [0], [1])
    assert clips.weights.tolist() == [0.5] and clips.token_weights[0].tolist() == [0.5, 0, 0, 0]
    as_long = mine_echo_clips(ENTROPY, STEPS, GROUPS, VERIFIED, EchoConfig(select="toy", clip_tokens="as_max"))
    assert as_long.lengths.tolist() == [2] and as_long.overlap.item() == pytest.approx(0.5 / 2)

    done = run(*SMALL, solved(tmp_path), "echo.select=toy")
    assert done.status == 0, done.output
    assert [row["echo/clips"] for row in done.metrics] == [1.0, 1.0]
    assert all(row["echo/loss"] > 0 for row in done.metrics)


@pytest.mark.slow
def test_the_selector_of_the_documentation_trains(run, tmp_path) -> None:
    page = (REPOSITORY / "docs/algorithms.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page.split("## A new selector")[1], re.DOTALL)
    (tmp_path / "my_selectors.py").write_text(code)
    select = f"{tmp_path / 'my_selectors.py'}:each_rollout"
    clips = mine_echo_clips(ENTROPY, STEPS, GROUPS, VERIFIED, EchoConfig(select=select))
    assert (clips.rows.tolist(), clips.ends.tolist(), clips.weights.tolist()) == ([0, 1, 3], [1, 3, 0], [0.5, 0.5, 1.0])

    done = run(*SMALL, solved(tmp_path), f"echo.select={select}")
    assert done.status == 0, done.output
    assert all(row["echo/clips"] == row["echo/verified"] - row["echo/left_out_short"] > 8 for row in done.metrics)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("return step_entropy.missing", "AttributeError: 'Tensor' object has no attribute 'missing'"),
        ("return groups, groups", "expected tensors rows, steps and weights, got 2 values"),
        ("return groups", "expected tensors rows, steps and weights, got Tensor"),
        ("return groups, groups, torch.ones(1)", "expected rows, steps and weights of the same shape (C,), got"),
        ("return groups[:1], groups[:1] - 1, torch.ones(1)", "expected eligible steps, got one that is not"),
    ],
)
def test_a_selector_that_fails_ends_the_run_with_its_name(run, tmp_path, body, fault) -> None:
    code = f"""
import torch
from echorl_vl.core import register_selector

@register_selector("faulty")
def faulty(step_entropy, eligible, groups, config, generator):
    {body}
"""
    (tmp_path / "mine.py").write_text(code)
    select = f"{tmp_path / 'mine.py'}:faulty"
    done = run(*SMALL, solved(tmp_path), f"echo.select={select}")
    assert done.status == 2 and "Traceback" not in done.output
    assert f"echo.select = {select}: {fault}" in " ".join(done.output.split())


def test_a_file_without_the_name_of_a_selector_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected mine\.py:NAME for a selector of this file"):
        EchoConfig(select="mine.py")
