"""The vLLM backend: its requests, checked with a stand-in that has vLLM's interface."""

from __future__ import annotations

import importlib.machinery
import shutil
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
from made_up_benchmarks import IMAGE_MODEL, TEXT_MODEL

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError
from echorl_vl.evaluation.generation.base import Request, Response
from echorl_vl.evaluation.generation.vllm_backend import VLLMGenerator, available
from echorl_vl.evaluation.settings import Sampling


@dataclass
class SamplingParams:
    n: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int


class LLM:
    """Responds with the seed; responses to odd seeds are truncated."""

    def __init__(self, model, dtype, **options):
        self.model, self.dtype, self.options, self.asked = model, dtype, options, []
        if model.endswith("broken"):
            raise RuntimeError("no GPU\nmore")

    def generate(self, prompts, params, use_tqdm):
        assert len(prompts) == len(params) and not use_tqdm
        self.asked += list(zip(prompts, params, strict=True))
        return [
            SimpleNamespace(
                outputs=[
                    SimpleNamespace(
                        text=f"seed {one.seed}", token_ids=(1, 2, 3), finish_reason="length" if one.seed % 2 else "stop"
                    )
                ]
            )
            for one in params
        ]


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    module = ModuleType("vllm")
    module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)


def test_every_request_has_its_own_seed():
    assert available()
    generator = VLLMGenerator(str(TEXT_MODEL), dtype="bfloat16", tensor_parallel_size=2)
    problems = load_problems("generated/arithmetic@test")[:2]
    sampling = Sampling(samples=2, temperature=0.6, top_p=0.9, top_k=20, max_tokens=77, seed=5)
    responses = generator.generate(
        [Request(problems[0], 4), Request(problems[0], 7), Request(problems[1], 8)], sampling
    )
    assert responses == [Response("seed 4", 2, False), Response("seed 7", 3, True), Response("seed 8", 2, False)]
    (prompt, params), *_ = generator.engine.asked
    assert prompt == {"prompt_token_ids": generator.encoder.encode(problems[0]).input_ids.tolist()}
    assert params == SamplingParams(n=1, temperature=0.6, top_p=0.9, top_k=20, max_tokens=77, seed=4)
    assert generator.engine.options == {"tensor_parallel_size": 2} and generator.engine.dtype == "bfloat16"


def test_images_are_resized_and_vllm_gets_the_same_limits():
    generator = VLLMGenerator(str(IMAGE_MODEL), min_pixels=3136, max_pixels=12544, max_images=1)
    problem = load_problems("generated/geometry3k@test")[0]
    generator.generate([Request(problem, 0)], Sampling())
    [(prompt, _)] = generator.engine.asked
    [image] = prompt["multi_modal_data"]["image"]
    assert image.size[0] % 28 == image.size[1] % 28 == 0 and image.size[0] * image.size[1] <= 12544
    assert prompt["prompt"].count("<|image_pad|>") == 1
    assert generator.engine.options["mm_processor_kwargs"] == {"min_pixels": 3136, "max_pixels": 12544}
    assert generator.engine.options["limit_mm_per_prompt"] == {"image": 1}
    assert generator.lengths([problem]) == [len(generator.encoder.encode(problem))]


def test_a_failure_of_vllm_names_the_model(tmp_path):
    shutil.copytree(TEXT_MODEL, tmp_path / "broken")
    with pytest.raises(UserError, match=r"broken: vLLM can't load it: no GPU$"):
        VLLMGenerator(str(tmp_path / "broken"))
