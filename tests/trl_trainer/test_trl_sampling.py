"""Visual tokens are never sampled, and padding does not change log-probs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed here: make test-trl makes an environment that has it")

from datasets import Dataset
from transformers import AutoProcessor
from trl import GRPOTrainer
from trl_runs import (
    GROUP,
    PROMPTS,
    TINY,
    image_model,
    image_problems,
    processor,
    text_model,
    text_problems,
    tokenizer,
    train,
)

from echorl_vl.core import EchoConfig
from echorl_vl.errors import UserError
from echorl_vl.models.tokens import VisualTokens
from echorl_vl.trl import EchoGRPOTrainer
from echorl_vl.trl.sampling import VLLM_BIAS, forbid_tokens, with_logit_bias

VISUAL = VisualTokens.find(text_model().config, tokenizer()).ids
LETTERS = tokenizer().convert_tokens_to_ids(["Q", "Z"])


def keeping_batches(trainer_class):
    class Keeper(trainer_class):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            self.batches = [*getattr(self, "batches", []), batch]
            return batch

    return Keeper


def with_visual_bias(model):
    """Make visual tokens and two letters far more probable than all other tokens."""
    model.lm_head.register_forward_hook(lambda _module, _args, logits: logits.index_add(
        -1, torch.tensor([*VISUAL, *LETTERS]), torch.full((*logits.shape[:-1], len(VISUAL) + len(LETTERS)), 30.0)
    ))  # fmt: skip
    return model


def sampled(trainer_class, folder, model=text_model, data=None, coef=0.5, **options):
    """Distinct ids of all completions."""
    extra = {} if trainer_class is GRPOTrainer else {"echo": EchoConfig(coef=coef)}
    trainer = train(
        keeping_batches(trainer_class), folder, with_visual_bias(model()), data or text_problems(), extra=extra,
        per_device_train_batch_size=GROUP, max_completion_length=8, **options,
    )  # fmt: skip
    return torch.cat([batch["completion_ids"].flatten() for batch in trainer.batches]).unique().tolist()


@pytest.mark.parametrize(
    "kwargs", [None, {"suppress_tokens": LETTERS[:1]}, {"suppress_tokens": None}, {"repetition_penalty": 1.1}]
)
def test_no_visual_token_is_sampled(kwargs, tmp_path):
    assert len(VISUAL) >= 4
    plain = sampled(GRPOTrainer, tmp_path, generation_kwargs=kwargs)
    assert set(plain) & set(VISUAL)
    echo = sampled(EchoGRPOTrainer, tmp_path, generation_kwargs=kwargs)
    assert not set(echo) & set(VISUAL)
    if kwargs and kwargs.get("suppress_tokens"):
        assert LETTERS[0] not in echo and LETTERS[1] in echo  # the user's suppress_tokens still apply
    # With coef 0 the trainer samples as TRL does.
    assert set(sampled(EchoGRPOTrainer, tmp_path, coef=0.0, generation_kwargs=kwargs)) & set(VISUAL)


def test_no_visual_token_is_sampled_with_images(tmp_path):
    """TRL suppresses only image pads, and nothing if generation_kwargs have suppress_tokens."""
    for kwargs in (None, {"suppress_tokens": LETTERS}):
        ids = sampled(EchoGRPOTrainer, tmp_path, image_model, image_problems(2), generation_kwargs=kwargs)
        assert not set(ids) & set(VISUAL)


@pytest.mark.parametrize("given", [None, {}, {"logit_bias": {"7": 2.0, VISUAL[0]: 50.0}, "seed": 3}])
def test_with_logit_bias_adds_a_bias_for_vllm(given):
    kwargs = with_logit_bias(given, VISUAL)
    assert all(kwargs["logit_bias"][token] == VLLM_BIAS for token in VISUAL)
    if given:
        assert kwargs["seed"] == 3 and kwargs["logit_bias"][7] == 2.0
        assert given["logit_bias"][VISUAL[0]] == 50.0  # the argument is not modified


def test_the_vllm_generation_of_a_trainer_gets_a_bias():
    generation = SimpleNamespace(generation_kwargs={"seed": 3})
    args = SimpleNamespace(generation_kwargs={"seed": 3})
    trainer = SimpleNamespace(use_vllm=True, args=args, vllm_generation=generation, eos_token_ids=[1])
    forbid_tokens(trainer, VISUAL)
    assert generation.generation_kwargs == {"seed": 3, "logit_bias": dict.fromkeys(VISUAL, VLLM_BIAS)}
    assert args.generation_kwargs == {"seed": 3}


@pytest.mark.parametrize("name", ["forced_eos_token_id", "forced_bos_token_id"])
def test_forcing_a_visual_token_is_an_error(name, tmp_path):
    with pytest.raises(UserError, match=f"generation_kwargs: expected no visual token .*, got .*{name}"):
        sampled(EchoGRPOTrainer, tmp_path, generation_kwargs={name: VISUAL[0]})


def test_a_rollout_function_that_samples_visual_tokens_gives_a_warning(tmp_path):
    def rollout(prompts, trainer):
        completions = [[LETTERS[0], VISUAL[0], tokenizer().eos_token_id] for _ in prompts]
        ids = [tokenizer()(prompt)["input_ids"] for prompt in prompts]
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": [[0.0] * 3 for _ in prompts]}

    extra = {"rollout_func": rollout, "echo": EchoConfig()}
    with pytest.warns(UserWarning, match="the rollout function sampled 4 visual tokens.*forbid the ids"):
        train(EchoGRPOTrainer, tmp_path, text_model(), text_problems(1), extra=extra, per_device_train_batch_size=GROUP)


# Padding


def log_probs_of_trl(trainer, batch):
    """(B, T) log-probs of the completions from TRL's pass over the padded batch."""
    names = ("pixel_values", "image_grid_thw", "mm_token_type_ids", "num_images")
    with torch.no_grad():
        return trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            batch["completion_ids"].shape[1],
            **{name: batch[name] for name in names if name in batch},
        )[0]


def log_probs_without_padding(trainer, batch):
    """Log-probs of each completion, from a separate pass without padding."""
    model, result = trainer.model, []
    has_images = "pixel_values" in batch
    values = batch["pixel_values"].split(batch["image_grid_thw"].prod(-1).tolist()) if has_images else None
    for row in range(len(batch["prompt_ids"])):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        ids = torch.cat([prompt, completion])[None]
        extra = {}
        if has_images:
            grid = batch["image_grid_thw"][row : row + 1]
            types = (ids == model.config.image_token_id).long()
            extra = {"pixel_values": values[row], "image_grid_thw": grid, "mm_token_type_ids": types}
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits[0]
        log_p = logits[len(prompt) - 1 : -1].log_softmax(-1)
        result.append(log_p.gather(1, completion[:, None]).squeeze(1))
    return result


def unequal_problems(kind):
    """Two prompts of very different lengths."""
    if kind == "text":
        return Dataset.from_dict({"prompt": [PROMPTS[0], " ".join(PROMPTS * 3)]})
    problems = image_problems(2)
    rows = [
        problems[0]["prompt"],
        [{"role": "user", "content": "Look at it. " * 8 + problems[1]["prompt"][0]["content"]}],
    ]
    columns = {"prompt": rows, "images": problems["images"]}
    return Dataset.from_dict(columns).cast_column("images", problems.features["images"])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["text", "images"])
def test_padding_does_not_change_log_probs(kind, side, tmp_path):
    own_processor = AutoProcessor.from_pretrained(TINY, padding_side=side)
    processing = own_processor.tokenizer if kind == "text" else own_processor
    model = text_model() if kind == "text" else image_model()
    trainer = train(
        keeping_batches(EchoGRPOTrainer), tmp_path, model, unequal_problems(kind),
        extra={"processing_class": processing, "echo": EchoConfig(coef=0.5)}, per_device_train_batch_size=2 * GROUP,
        max_completion_length=16,
    )  # fmt: skip
    (batch,) = trainer.batches
    lengths = batch["prompt_mask"].sum(1)
    assert lengths.max() - lengths.min() > 10
    padded = log_probs_of_trl(trainer, batch)
    for row, expected in enumerate(log_probs_without_padding(trainer, batch)):
        torch.testing.assert_close(padded[row, : len(expected)], expected, atol=1e-4, rtol=1e-4)


def test_a_processor_that_pads_on_the_right_gives_a_warning(tmp_path):
    extra = {"processing_class": AutoProcessor.from_pretrained(TINY, padding_side="right")}
    options = dict(extra=extra, per_device_train_batch_size=GROUP, max_completion_length=4)
    with pytest.warns(UserWarning, match="expected a processor with padding_side left, got right.*set to left"):
        train(EchoGRPOTrainer, tmp_path, image_model(), image_problems(1), **options)
    assert extra["processing_class"].tokenizer.padding_side == "left"
    assert processor().tokenizer.padding_side == "left"
