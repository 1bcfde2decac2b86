"""The sample reward of README.md scores responses of the shipped job."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from echorl_vl.generators.geometry3k.kinds import KINDS, draw_problem
from echorl_vl.rewards.manager import RewardManager

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def sample(tmp_path: Path) -> str:
    """`my_reward.py:function`, with the code block of README.md that has a REWARD_TYPE."""
    [code] = [
        block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "REWARD_TYPE" in block
    ]
    path = tmp_path / "my_reward.py"
    path.write_text(code)
    [name] = re.findall(r"^def (\w+)\(", code, re.MULTILINE)
    return f"{path}:{name}"


def test_the_sample_scores_responses_of_the_shipped_job(sample: str) -> None:
    """Worked solutions of the generator, correct and incorrect, as the shipped policy writes them."""
    rng = random.Random(0)
    problems = [draw_problem(kind, rng) for kind in KINDS]
    with RewardManager(sample, {}, 1, 20.0) as manager:
        for approach, accuracy in ((0, 1.0), (1, 0.0)):
            responses = [problem.solution(rng, approach) for problem in problems]
            truths = [problem.answer for problem in problems]
            scores = manager.score(responses, [50] * len(problems), truths)
            assert {score["accuracy"] for score in scores} == {accuracy}
            assert all((score["overall"] > 0) == accuracy for score in scores)


def test_the_sample_defines_the_function_that_the_readme_names(sample: str) -> None:
    assert f"worker.reward.reward_function=my_reward.py:{sample.rpartition(':')[2]}" in README.read_text()
