"""Rotary factors that change with the length are refused if a prompt and its response can be that long."""

from __future__ import annotations

import pytest
import tiny_models as tiny

from echorl_vl.config import Config
from echorl_vl.engines.local.architecture import check_window
from echorl_vl.engines.local.policy import Policy
from echorl_vl.errors import UserError

WINDOW = 64
HALF_HEAD = 4
SCALED = {
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0] * HALF_HEAD,
        "long_factor": [4.0, 8.0, 8.0, 8.0],
        "original_max_position_embeddings": WINDOW,
        "factor": 4.0,
    },
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
}
FIXED = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": WINDOW},
    "llama3": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": WINDOW,
    },
}


def policy(kind: str, rope: dict) -> Policy:
    model = tiny.text_model(kind, rope_parameters={**rope, "rope_theta": 10_000.0}, max_positions=WINDOW)
    return Policy(model, tiny.tokenizer())


def lengths(prompt: int, response: int) -> Config:
    settings = Config()
    settings.data.max_prompt_length, settings.data.max_response_length = prompt, response
    return settings


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize("rope", SCALED)
def test_factors_that_change_with_length_are_refused_beyond_the_window(kind: str, rope: str) -> None:
    made = policy(kind, SCALED[rope])
    check_window(made, lengths(32, 32))
    with pytest.raises(UserError, match=f"= 65 tokens.*{rope}.*more than 64 tokens.*at most 64"):
        check_window(made, lengths(32, 33))
    with pytest.raises(UserError, match="at most 64"):
        check_window(made, lengths(33, 16), added_tokens=16)
    check_window(made, lengths(32, 32))  # checking a long row has no side effect


@pytest.mark.parametrize("rope", FIXED)
def test_fixed_factors_are_accepted(rope: str) -> None:
    check_window(policy("llama", FIXED[rope]), lengths(100, 100))


def test_a_vision_model_is_accepted() -> None:
    check_window(tiny.vl_policy(), lengths(1000, 1000))
