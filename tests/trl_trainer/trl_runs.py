"""Tiny models, scripted completions, and trainers that record the gradient of each optimizer step."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
)
from trl import GRPOConfig

from echorl_vl.trl import EchoGRPOTrainer

TINY = Path(__file__).resolve().parents[2] / "echorl_vl/tiny/model"
GROUP = 4
LINES = [
    "AB = 3\nBC = 7\n",
    "x = 12.\nso y = 5\n",
    "10 + 2 = 12\n",
    "the angle is 40\nthe other is 50\nhalf is 25\n",
    "the angle is 40\nthe other is 50\nhalf is 25\nthe sum is 115\n",
]
PROMPTS = ["What is 1 + 2?", "Find x.", "How long is AB?", "What is 3 x 4?"]


@lru_cache
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@lru_cache
def processor():
    return AutoProcessor.from_pretrained(TINY, padding_side="left")


def text_model(folder: Path | None = None) -> Qwen2ForCausalLM:
    """A Qwen2 model with random weights, for the tiny policy's tokenizer.

    Args:
        folder: save the model there and load it, so that TRL can load its reference model.
    """
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=tokenizer().eos_token_id,
        pad_token_id=tokenizer().pad_token_id, bos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    if folder is None:
        return model
    model.save_pretrained(folder)
    return Qwen2ForCausalLM.from_pretrained(folder)


def image_model() -> Qwen2_5_VLForConditionalGeneration:
    """The shipped policy, which writes its reasoning line by line."""
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(TINY, dtype=torch.float32)


def text_problems(count: int = len(PROMPTS)) -> Dataset:
    return Dataset.from_dict({"prompt": PROMPTS[:count]})


def image_problems(count: int) -> Dataset:
    from echorl_vl.generators.geometry3k.generate import load_split

    rows = load_split("train", size=count)
    content = [problem.removeprefix("<image>") for problem in rows["problem"]]
    prompts = [[{"role": "user", "content": text}] for text in content]
    return Dataset.from_dict({"prompt": prompts, "images": rows["images"]}, features=None).cast_column(
        "images", rows.features["images"]
    )


def completion(turn: int, place: int) -> list[int]:
    """Ids of a completion with the answer `turn`; the third of each group hits the length limit."""
    text = LINES[turn % len(LINES)] + f"so it is {turn}"
    return tokenizer()(text)["input_ids"] + ([] if place == 2 else [tokenizer().eos_token_id])


def script(prompt: str, place: int) -> list[int]:
    """Ids of completion number `place` in the group of a prompt."""
    return completion(2 * PROMPTS.index(prompt) + place, place)


def scripted(prompts: list[str], trainer) -> dict[str, list]:
    """A rollout function whose completions do not depend on the split of the batch over ranks."""
    first = trainer.accelerator.process_index * len(prompts)
    completions = [script(prompt, (first + row) % GROUP) for row, prompt in enumerate(prompts)]
    return rollouts([tokenizer()(prompt)["input_ids"] for prompt in prompts], completions)


def scripted_images(prompts: list, trainer) -> dict[str, list]:
    """The same for prompts with images, which it identifies by their position in the only generation batch."""
    rows = [trainer.accelerator.process_index * len(prompts) + row for row in range(len(prompts))]
    completions = [completion(2 * (row // GROUP) + row % GROUP, row % GROUP) for row in rows]
    return rollouts(trainer._tokenize_prompts(prompts)[0], completions)


def rollouts(prompt_ids: list[list[int]], completions: list[list[int]]) -> dict[str, list]:
    log_probs = [[0.0] * len(ids) for ids in completions]  # TRL uses them only with vLLM
    return {"prompt_ids": prompt_ids, "completion_ids": completions, "logprobs": log_probs}


def accuracy_one(completions, **kwargs) -> list[float]:
    return [1.0] * len(completions)


def accuracy_mixed(completions, **kwargs) -> list[float]:
    """Verifies all scripted completions of the first group, three of the second, one of the third, none of the last."""
    return [float(int(text.rsplit(" ", 1)[1]) <= 4) for text in completions]


def accuracy_sampled(completions, completion_ids, **kwargs) -> list[float]:
    """Verifies about half of sampled completions."""
    return [float(sum(ids) % 2) for ids in completion_ids]


class Gradients(TrainerCallback):
    """Records the gradient of each optimizer step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        named = model.named_parameters()
        self.steps.append({name: p.grad.clone() for name, p in named if p.grad is not None})

    def mean(self) -> dict[str, torch.Tensor]:
        return {name: torch.stack([step[name] for step in self.steps]).mean(0) for name in self.steps[0]}


def arguments(folder: Path, **overrides) -> GRPOConfig:
    """One epoch on a CPU without clipping, at learning rate 0, so that the policy is the same in every step."""
    options = dict(
        output_dir=str(folder), num_generations=GROUP, max_completion_length=32, num_train_epochs=1, learning_rate=0.0,
        max_grad_norm=0.0, optim="sgd", lr_scheduler_type="constant", logging_steps=1, report_to="none", use_cpu=True,
        bf16=False, save_strategy="no", disable_tqdm=True, gradient_checkpointing=False, shuffle_dataset=False,
        per_device_train_batch_size=8, gradient_accumulation_steps=1, dataloader_pin_memory=False,
    )  # fmt: skip
    return GRPOConfig(**options | overrides)


def train(trainer_class, folder: Path, model, dataset, rewards=accuracy_one, extra: dict | None = None, **overrides):
    """Train for an epoch and return the trainer, with the gradients as `trainer.gradients`.

    Args:
        extra: further arguments of the trainer.
        overrides: further arguments of `arguments`.
    """
    gradients = Gradients()
    text = isinstance(model, Qwen2ForCausalLM)
    given = dict(
        model=model,
        reward_funcs=rewards,
        args=arguments(folder, **overrides),
        train_dataset=dataset,
        processing_class=tokenizer() if text else processor(),
        callbacks=[gradients],
    )
    trainer = trainer_class(**given | (extra or {}))
    trainer.train()
    trainer.gradients = gradients
    return trainer


def train_scripted(folder: Path, echo, trainer_class=EchoGRPOTrainer, **options):
    """Train the text model on the scripted completions; `echo` is None for TRL's `GRPOTrainer`."""
    extra = {"rollout_func": scripted} | ({} if echo is None else {"echo": echo}) | options.pop("extra", {})
    model = text_model(folder / "model" if options.get("beta") else None)
    return train(trainer_class, folder, model, text_problems(), extra=extra, **options)


def logged(trainer, name: str) -> list[float]:
    return [row[name] for row in trainer.state.log_history if name in row]
