"""vLLM and transformers give the same greedy responses, for text and images. Skipped if vLLM is not installed.

The package vllm-cpu runs the tiny models on a CPU; it needs a separate environment.
"""

from __future__ import annotations

import importlib.util

import pytest
from made_up_benchmarks import IMAGE_MODEL, TEXT_MODEL

from echorl_vl.data.sources import load_problems
from echorl_vl.evaluation.generation.base import Request
from echorl_vl.evaluation.settings import Sampling

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROBLEMS = 24
SAMPLING = Sampling(temperature=0.0, max_tokens=64)


@pytest.mark.parametrize(
    ("model", "source"),
    [(TEXT_MODEL, "generated/arithmetic@test"), (IMAGE_MODEL, "generated/geometry3k@test")],
    ids=["text", "images"],
)
def test_greedy_responses_are_those_of_transformers(model, source, monkeypatch):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed here")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    from echorl_vl.evaluation.generation.transformers_backend import TransformersGenerator
    from echorl_vl.evaluation.generation.vllm_backend import VLLMGenerator

    requests = [Request(problem, seed) for seed, problem in enumerate(load_problems(source)[:PROBLEMS])]
    by_vllm = VLLMGenerator(str(model), dtype="float32", enforce_eager=True, max_model_len=512)
    found = by_vllm.generate(requests, SAMPLING)
    expected = TransformersGenerator(str(model), dtype="float32", device="cpu").generate(requests, SAMPLING)
    same = [one == other for one, other in zip(found, expected, strict=True)]
    assert sum(same) >= 0.9 * PROBLEMS  # rounding decides between tokens of equal probability
    assert len({response.text for response in expected}) > PROBLEMS / 2
