"""The dry run (`--dry-run`): shows the prompts, tries the reward and estimates the memory, without training."""

from __future__ import annotations

import textwrap
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from echorl_vl.algorithms import make_algorithm
from echorl_vl.config import Config
from echorl_vl.core import make_splitter
from echorl_vl.data.from_config import (
    demonstration_encoder,
    load_set,
    make_encoder,
    screen_set,
    with_demonstrations,
)
from echorl_vl.data.images import image_size
from echorl_vl.data.order import BatchOrder
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.engines.base import Engine
from echorl_vl.engines.resources import GIB, Machine, model_memory
from echorl_vl.errors import counted
from echorl_vl.models.loading import load_inputs
from echorl_vl.models.tokens import end_of_turn
from echorl_vl.outputs.folders import check_writable
from echorl_vl.rewards.manager import RewardManager

PROMPTS = 3
_LONGEST_PROMPT = 2000  # characters; of longer prompts, the start and the end are shown


def dry_run(config: Config, engine: Engine) -> Iterator[str]:
    """Checks a configuration without training and without loading the weights of the model.

    Loads and checks the data as a run does, encodes three prompts, and scores the ground truths of these problems.

    Yields:
        Lines about problems, prompts, reward and memory.

    Raises:
        UserError: a run would fail at its start, because of data, images, templates, tokenizer, processor,
            demonstrations, reward or run folder.
    """
    check_writable(config.trainer.output_folder)
    data, inputs = config.data, load_inputs(config.worker.actor.model)
    encoder = make_encoder(config, inputs.tokenizer, inputs.processor, inputs.family)
    problems = yield from _set_lines("train_files", data.demonstration_key, encoder, config)
    problems = yield from _demonstration_lines(problems, encoder, inputs.tokenizer, config, engine)
    steps = BatchOrder(len(problems), data.rollout_batch_size).steps_per_epoch
    yield f"  {counted(data.rollout_batch_size, 'problem')} a step, {counted(steps, 'step')} an epoch"
    if data.val_files:
        yield from _set_lines("val_files", None, encoder, config)
    for index in range(min(PROMPTS, len(problems))):
        yield from _prompt_lines(problems, index, encoder)
    yield from _reward_lines([problems[index].answer for index in range(min(PROMPTS, len(problems)))], config)
    yield from _memory_lines(config, engine, inputs.config)


def _set_lines(
    key: str, demonstration_key: str | None, encoder: PromptEncoder, config: Config
) -> Generator[str, None, Problems]:
    """Yields lines about a problem set; returns the problems that a run would use."""
    notes: list[str] = []
    problems = load_set(config, getattr(config.data, key), demonstration_key)
    kept = screen_set(config, problems, encoder, notes.append)
    yield f"data.{key} = {problems.source}: {counted(len(kept), 'problem')}"
    yield from (f"  {note}" for note in notes)
    return kept


def _demonstration_lines(
    problems: Problems, encoder: PromptEncoder, tokenizer: Any, config: Config, engine: Engine
) -> Generator[str, None, Problems]:
    """Yields notes on the demonstrations, if the algorithm uses them; returns the problems that have one."""
    algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
    if not algorithm.needs_demonstrations or config.trainer.val_only:
        return problems
    notes: list[str] = []
    splitter = make_splitter(config.echo.splitter, tokenizer, **config.echo.splitter_kwargs)
    end = end_of_turn(tokenizer, (tokenizer.eos_token_id,))
    demonstrations = demonstration_encoder(config, encoder, problems[0], end)
    problems = with_demonstrations(config, problems, demonstrations, notes.append)
    engine.check_demonstrations(config, problems, demonstrations, splitter, notes.append)
    yield from (f"  {note}" for note in notes)
    return problems


def _prompt_lines(problems: Problems, index: int, encoder: PromptEncoder) -> Iterator[str]:
    problem = problems[index]
    prompt = encoder.encode(problem)
    images = ""
    if problem.images:
        given = [image_size(image, problem.where) for image in problem.images]
        tokens = encoder.images.processing.tokens
        sizes = [
            f"{w} x {h} pixels, read as {image.width} x {image.height} = {tokens(*image.size)} tokens"
            for (w, h), image in zip(given, encoder.images.fit(problem), strict=True)
        ]
        images = f"; images: {'; '.join(sizes)}"
    yield ""
    yield f"prompt {index + 1} of {len(problems):,} ({problem.where}): {len(prompt):,} tokens{images}"
    text, half = prompt.text, _LONGEST_PROMPT // 2
    if len(text) > 2 * half:
        text = f"{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}"
    yield textwrap.indent(text.rstrip("\n"), "  | ", lambda line: True)
    yield f"  ground truth: {problem.answer}"


def _reward_lines(answers: Sequence[str], config: Config) -> Iterator[str]:
    """Mean scores of the ground truths, given alone, in a box, and in a <think> response."""
    reward = config.worker.reward
    forms = {
        "the answer alone": "{}",
        "a line of reasoning and the answer in a box": "The answer follows.\nIt is $\\boxed{{{}}}$.",
        "the same as a <think> response": "<think>The answer follows.</think>\n\\boxed{{{}}}",
    }
    responses = [form.format(answer) for form in forms.values() for answer in answers]
    lengths = [len(response.split()) for response in responses]
    with RewardManager(
        reward.reward_function, dict(reward.reward_function_kwargs), num_workers=1, time_limit=reward.time_limit
    ) as rewards:
        scores = rewards.score(responses, lengths, list(answers) * len(forms))
    yield ""
    yield f"reward of the ground truth ({reward.reward_function}), mean over {counted(len(answers), 'problem')}"
    verified = 0
    for number, form in enumerate(forms):
        own = scores[number * len(answers) : (number + 1) * len(answers)]
        verified += sum(score["accuracy"] >= config.echo.verify_threshold for score in own)
        names = dict.fromkeys(name for score in own for name in score)
        means = {name: sum(score.get(name, 0.0) for score in own) / len(own) for name in names}
        yield f"  {form}: " + ", ".join(f"{name} {mean:.3g}" for name, mean in means.items())
    if not verified:
        yield (
            "  warning: none of these responses is verified (accuracy below echo.verify_threshold = "
            f"{config.echo.verify_threshold:g}). The reward expects another form of answers, or has a bug"
        )


def _memory_lines(config: Config, engine: Engine, model_config: Any) -> Iterator[str]:
    """The memory of weights, gradients, AdamW, and keys and values of a step; activations are not included."""
    machine = Machine.here()
    yield ""
    memory = model_memory(config, bool(machine.gpus))
    if memory is None:
        path = config.worker.actor.model.model_path
        yield f"memory: the number of parameters of {path} is unknown until its weights are loaded"
        return
    text = model_config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    data, rollouts = config.data, config.data.rollout_batch_size * config.worker.rollout.n
    positions = data.rollout_batch_size * data.max_prompt_length + rollouts * data.max_response_length
    cache = positions * text.num_hidden_layers * heads * width * 2 * (2 if machine.gpus else 4)
    there = " + ".join(f"{size / GIB:.0f} GiB on a GPU" for size in machine.gpus)
    yield f"memory, without activations, for {memory.parameters:,} parameters"
    yield f"  {memory.what}: {memory.needed / GIB:.2f} GiB"
    yield f"  keys and values of {rollouts:,} rollouts of full length: {cache / GIB:.2f} GiB"
    yield f"  this machine has {machine.memory / GIB:.0f} GiB" + (f" + {there}" if there else ", and no GPU")
    for warning in engine.memory_warnings(config, machine, memory.parameters, memory.needed):
        yield f"  warning: {warning}"
