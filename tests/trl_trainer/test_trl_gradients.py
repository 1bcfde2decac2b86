"""The gradient of the echo term in TRL's trainer compared with a reference, for all ways that TRL splits a batch."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed here: make test-trl makes an environment that has it")

from echo_by_hand import assert_gradients_equal, naive_echo_gradient
from trl import GRPOTrainer
from trl_runs import (
    GROUP,
    PROMPTS,
    accuracy_mixed,
    image_model,
    image_problems,
    logged,
    processor,
    script,
    text_model,
    tokenizer,
    train,
    train_scripted,
)

from echorl_vl.core import EchoConfig
from echorl_vl.trl import EchoGRPOTrainer

# (rows per micro-batch, micro-batches per optimizer step, micro-batches per generation batch, passes over it)
SPLITS = {
    "one step": (16, 1, 1, 1),
    "micro-batches": (4, 4, 4, 1),
    "micro-batches smaller than groups": (2, 8, 8, 1),
    "two steps per generation batch": (4, 2, 4, 1),
    "two generation batches per step": (4, 4, 2, 1),
    "two passes over a generation batch": (4, 4, 4, 2),
    "steps that start inside a generation batch": (4, 4, 2, 2),
}


def scripted_groups() -> list:
    return [[(tokenizer()(p)["input_ids"], script(p, place), {}) for place in range(GROUP)] for p in PROMPTS]


def reference(temperature: float = 1.0):
    """L_echo of the scripted completions of all prompts, and its gradient."""
    return naive_echo_gradient(text_model().train(), tokenizer(), scripted_groups(), temperature)


@pytest.mark.parametrize("split", SPLITS)
def test_with_all_success_the_gradient_is_that_of_the_echo_term_for_every_split(split, tmp_path):
    rows, accumulation, generation, passes = SPLITS[split]
    trainer = train_scripted(
        tmp_path, EchoConfig(coef=0.5), per_device_train_batch_size=rows, gradient_accumulation_steps=accumulation,
        steps_per_generation=generation, num_iterations=passes,
    )  # fmt: skip
    loss, gradient = reference()
    assert_gradients_equal(trainer.gradients.mean(), gradient, scale=0.5)
    losses = logged(trainer, "echo/loss")
    assert sum(losses) / len(losses) == pytest.approx(loss, rel=1e-5)
    assert set(logged(trainer, "group/all_success")) == {1.0}


def passing(rows):
    """Rows whose completion `accuracy_mixed` verifies."""
    texts = [tokenizer().decode(completion, skip_special_tokens=True) for _, completion, _ in rows]
    return [row for row, accuracy in zip(rows, accuracy_mixed(texts), strict=True) if accuracy == 1.0]


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
@pytest.mark.parametrize("passes", [1, 2])  # with two, TRL computes old log-probs, from which the entropies come
def test_the_echo_term_is_added_to_the_policy_gradient(loss_type, passes, tmp_path):
    options = dict(rewards=accuracy_mixed, loss_type=loss_type, beta=0.1, num_iterations=passes)
    options |= dict(per_device_train_batch_size=4, gradient_accumulation_steps=4)
    plain = train_scripted(tmp_path, None, GRPOTrainer, **options).gradients.mean()
    echo = train_scripted(tmp_path, EchoConfig(coef=0.5), **options).gradients.mean()
    groups = [passing(rows) for rows in scripted_groups()]
    assert 0 < sum(map(len, groups)) < GROUP * len(PROMPTS)
    _, gradient = naive_echo_gradient(text_model().train(), tokenizer(), groups)
    assert max(g.abs().max() for g in plain.values()) > 1e-3
    assert_gradients_equal({name: echo[name] - plain[name] for name in plain}, gradient, scale=0.5)


def test_the_echo_term_uses_the_sampling_temperature(tmp_path):
    trainer = train_scripted(tmp_path, EchoConfig(coef=1.0), temperature=0.7, per_device_train_batch_size=16)
    assert_gradients_equal(trainer.gradients.mean(), reference(temperature=0.7)[1])


class ComparingTrainer(EchoGRPOTrainer):
    """Keeps the batches, and compares the entropies of sampling with those of a forward pass."""

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        self.batches = [*getattr(self, "batches", []), batch]
        return batch

    def _entropies(self, batch):
        from_sampling = super()._entropies(batch)
        assert self._sampled_entropies is not None
        saved, self._sampled_entropies = self._sampled_entropies, None
        mask = batch["completion_mask"]
        self.difference = ((super()._entropies(batch) - from_sampling) * mask).abs().max().item()
        self.total_entropy = (from_sampling * mask).sum().item()
        self._sampled_entropies = saved
        return from_sampling


@pytest.mark.parametrize("split", [(8, 1, 1), (2, 4, 4)])
def test_the_gradient_with_images_and_entropies_of_sampling(split, tmp_path):
    """The shipped policy on geometry problems, sampled by transformers."""
    rows, accumulation, generation = split
    trainer = train(
        ComparingTrainer, tmp_path, image_model(), image_problems(2), extra={"echo": EchoConfig(coef=1.0)},
        per_device_train_batch_size=rows, gradient_accumulation_steps=accumulation, steps_per_generation=generation,
        max_completion_length=64,
    )  # fmt: skip
    assert trainer.total_entropy > 1
    assert trainer.difference < 1e-4
    (batch,) = trainer.batches
    per_image = batch["image_grid_thw"].prod(-1).tolist()
    images = batch["pixel_values"].split(per_image)
    sequences = []
    for row in range(2 * GROUP):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist()
        types = (torch.tensor([prompt + completion]) == trainer.model.config.image_token_id).long()
        grid = batch["image_grid_thw"][row : row + 1]
        extra = {"pixel_values": images[row], "image_grid_thw": grid, "mm_token_type_ids": types}
        sequences.append((prompt, completion, extra))
    groups = [sequences[:GROUP], sequences[GROUP:]]
    loss, gradient = naive_echo_gradient(image_model().train(), processor().tokenizer, groups)
    assert logged(trainer, "echo/loss") == [pytest.approx(loss, rel=1e-4)]
    assert any("visual" in name for name in gradient)
    assert_gradients_equal(trainer.gradients.mean(), gradient, tolerance=2e-5)
