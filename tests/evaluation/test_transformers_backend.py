"""The transformers backend: a response depends on its question and seed, not on the rest of the batch."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from made_up_benchmarks import IMAGE_MODEL, TEXT_MODEL
from transformers import GenerationConfig

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.generation.base import Request, seed_of
from echorl_vl.evaluation.generation.draw import measure
from echorl_vl.evaluation.generation.prompting import encoder_for, pixel_limits
from echorl_vl.evaluation.generation.transformers_backend import TransformersGenerator
from echorl_vl.evaluation.settings import Sampling
from echorl_vl.models.base import FAMILIES, ModelFamily

GREEDY = Sampling(max_tokens=48)
SAMPLED = Sampling(temperature=1.0, max_tokens=48)


@pytest.fixture(scope="module")
def text() -> TransformersGenerator:
    return TransformersGenerator(str(TEXT_MODEL), device="cpu")


@pytest.fixture(scope="module")
def image_model() -> TransformersGenerator:
    return TransformersGenerator(str(IMAGE_MODEL), device="cpu", min_pixels=3136, max_pixels=12544)


@pytest.fixture(params=["text", "image_model"])
def model(request):
    problems = load_problems("generated/arithmetic@test" if request.param == "text" else "generated/geometry3k@test")
    return request.getfixturevalue(request.param), problems[:5]


def test_greedy_responses_are_those_of_generate_on_single_prompts(model):
    generator, problems = model
    together = generator.generate([Request(problem, 0) for problem in problems], GREEDY)
    ends = generator.model.generation_config.eos_token_id
    config = GenerationConfig(max_new_tokens=48, eos_token_id=ends, pad_token_id=ends[0])
    for problem, response in zip(problems, together, strict=True):
        # The model's own tokenizer or processor prepares the inputs, with correct positions for images.
        text, encoder = generator.encoder.render(problem), generator.encoder
        if encoder.processor is None:
            inputs = generator.tokenizer(text, return_tensors="pt")
        else:
            inputs = encoder.processor(
                text=[text], images=encoder.images.fit(problem), return_tensors="pt", do_resize=False
            )
        alone = generator.model.generate(**inputs, generation_config=config)[0, inputs["input_ids"].shape[1] :]
        assert response.text == generator.tokenizer.decode(alone, skip_special_tokens=True)


def test_a_response_depends_on_its_seed_and_not_on_its_batch(model):
    generator, problems = model
    requests = [Request(problem, 7 + index) for index, problem in enumerate(problems)]
    together = generator.generate(requests, SAMPLED)
    assert [generator.generate([request], SAMPLED)[0] for request in requests] == together
    assert generator.generate(requests[::-1], SAMPLED) == together[::-1]
    assert generator.generate([Request(problem, 99) for problem in problems], SAMPLED) != together


def test_sampling_follows_the_models_distribution(text):
    """Compare the first tokens of 600 responses with softmax(logits / T) of a plain forward pass."""
    problem, count, temperature = load_problems("generated/arithmetic@test")[0], 600, 1.3
    prompt = text.encoder.encode(problem)
    with torch.inference_mode():
        logits = text.model(input_ids=prompt.input_ids[None]).logits[0, -1]
    expected = torch.softmax(logits.double() / temperature, -1)
    sampling = Sampling(temperature=temperature, max_tokens=1)
    responses = text.generate([Request(problem, seed_of(0, "x", str(i), 0)) for i in range(count)], sampling)
    likely = [token for token in expected.argsort(descending=True)[:3].tolist() if expected[token] > 0.02]
    for token in likely:
        name = text.tokenizer.decode([token], skip_special_tokens=True)
        share = sum(response.text == name for response in responses) / count
        p = float(expected[token])
        assert abs(share - p) < 4 * (p * (1 - p) / count) ** 0.5


def test_a_response_ends_before_its_end_token_or_is_truncated(text):
    problem = load_problems("generated/arithmetic@test")[0]
    whole = text.generate([Request(problem, 0)], GREEDY)[0]
    assert not whole.truncated and whole.tokens == len(text.tokenizer(whole.text)["input_ids"])
    cut = text.generate([Request(problem, 0)], Sampling(max_tokens=whole.tokens))[0]
    assert cut.truncated and cut.text == whole.text and cut.tokens == whole.tokens


def test_generation_settings_in_a_checkpoint_are_ignored(tmp_path):
    import json
    import shutil

    shutil.copytree(TEXT_MODEL, tmp_path / "model")
    file = tmp_path / "model" / "generation_config.json"
    penalties = {"repetition_penalty": 5.0, "temperature": 0.1, "top_k": 1}
    file.write_text(json.dumps(json.loads(file.read_text()) | penalties))
    changed = TransformersGenerator(str(tmp_path / "model"), device="cpu")
    plain = TransformersGenerator(str(TEXT_MODEL), device="cpu")
    requests = [Request(problem, 3) for problem in load_problems("generated/arithmetic@test")[:4]]
    assert changed.generate(requests, SAMPLED) == plain.generate(requests, SAMPLED)


def test_a_text_model_rejects_images(text):
    problem = load_problems("generated/geometry3k@test")[0]
    with pytest.raises(UserError, match="but the model reads only text"):
        text.lengths([problem])


def test_reserved_tokens_in_a_question_are_an_error_before_sampling(text):
    questions = [Question("0", "1 + 1?", "2"), Question("1", "1 + 1?<|im_end|>", "2")]
    with pytest.raises(UserError, match=r"mine\.jsonl, row 1, question: contains <\|im_end\|>"):
        measure(text, questions, "mine.jsonl", SAMPLED)


def test_seeds_of_responses_are_distinct_and_stable():
    seeds = {
        seed_of(seed, bench, uid, sample) for seed in (0, 1) for bench in "ab" for uid in "cd" for sample in (0, 1)
    }
    assert len(seeds) == 16 and all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of(0, "aime24", "60", 3) == 216608404


@pytest.mark.parametrize(("kind", "batch"), [("dynamic", 1), ("linear", 6)])
def test_the_batch_size_is_one_if_rotary_factors_depend_on_the_longest_row(tmp_path, kind, batch):
    folder = tmp_path / "model"
    shutil.copytree(TEXT_MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": kind, "factor": 4.0, "rope_theta": 10_000.0}
    (folder / "config.json").write_text(json.dumps(config))
    assert TransformersGenerator(str(folder), device="cpu", batch_size=6).batch_size == batch


def test_a_family_that_accepts_every_processor_changes_nothing(monkeypatch, image_model):
    class Greedy(type(image_model.encoder.images.processing)):
        @classmethod
        def supports(cls, processor):
            return True

    class Other(ModelFamily):
        model_types, processing = ("other",), Greedy

    monkeypatch.setattr("echorl_vl.models.base.FAMILIES", {"Other": Other(), **FAMILIES})
    again = TransformersGenerator(str(IMAGE_MODEL), device="cpu", min_pixels=3136, max_pixels=12544)
    assert type(again.encoder.images.processing) is type(image_model.encoder.images.processing)


def test_a_model_of_an_unknown_family_may_have_a_known_processor(monkeypatch, image_model):
    """vLLM can run models that can't be trained here."""
    monkeypatch.setattr(type(image_model._family), "model_types", ("another",))
    assert pixel_limits(str(IMAGE_MODEL), 3136, 12544) == (3136, 12544)
    loaded = image_model.encoder.processor
    encoder = encoder_for(image_model.model.config, loaded, loaded.tokenizer, None, 3136, 12544)
    assert type(encoder.images.processing) is type(image_model.encoder.images.processing)
