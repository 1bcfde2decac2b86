"""Policies that several tests share; tests that change one make their own."""

from __future__ import annotations

import pytest
import tiny_models as tiny
import torch

from echorl_vl.engines.local.policy import Policy


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Results with one thread don't depend on the number of cores, and tiny matrices are no slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def vl() -> Policy:
    return tiny.vl_policy()


@pytest.fixture(scope="session", params=["vision", "qwen2", "llama"])
def any_policy(request, vl) -> Policy:
    return vl if request.param == "vision" else tiny.text_policy(request.param)


@pytest.fixture(scope="session")
def mixed_prompts() -> list[tiny.Prompt]:
    """Prompts of different lengths, with none, one or two images of different sizes."""
    return [
        tiny.prompt("side AB?", (4, 4), seed=1),
        tiny.prompt("a longer question about two pictures", (4, 8), (6, 4), seed=2),
        tiny.prompt("text"),
        tiny.prompt("area?", (8, 8), seed=3),
    ]


@pytest.fixture(scope="session")
def text_prompts() -> list[tiny.Prompt]:
    return [tiny.prompt("one"), tiny.prompt("a longer question"), tiny.prompt("x")]
