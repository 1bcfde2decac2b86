"""Train the tiny policy: supervised fine-tuning on correct and incorrect solutions.

    python -m echorl_vl.tiny.warmstart --out echorl_vl/tiny/model        # about 30 minutes on 2 cores

There are three stages. In the first, the target is only the numbers in the image: if trained on whole solutions from
the start, a model of this size learns the language but ignores the image. In the second, the targets are whole
solutions; a fixed share (`CORRECT_SHARE`) has the correct approach, the others a plausible incorrect one with valid
arithmetic. In the third, all solutions have the same wording, so that the only uncertain choice is the theorem. The
entropy of the policy peaks at that step, which reinforcement learning has to learn.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor

from echorl_vl.engines.local.allocator import keep_freed_memory
from echorl_vl.generators.geometry3k.canvas import CELLS, Canvas
from echorl_vl.generators.geometry3k.generate import draw_split
from echorl_vl.generators.geometry3k.kinds import KINDS, OOD_KINDS
from echorl_vl.generators.geometry3k.problem import GeometryProblem
from echorl_vl.generators.splits import TRAIN, Split
from echorl_vl.models.qwen2_5_vl import mrope_positions
from echorl_vl.outputs.command import job, make_parser, parse_arguments
from echorl_vl.tiny.build import (
    MODEL_FOLDER,
    SPECIAL_TOKENS,
    new_model,
    write_config,
    write_model,
    write_processor,
)
from echorl_vl.tiny.files import train_tokenizer
from echorl_vl.tiny.tuning import cosine, fine_tune, new_optimizer

logger = logging.getLogger("echorl_vl.tiny.warmstart")  # __name__ is __main__ under python -m

CORRECT_SHARE = {
    "triangle_angle": 0.60,
    "exterior_angle": 0.50,
    "parallel_lines": 0.45,
    "quadrilateral_angle": 0.30,
    "hypotenuse": 0.55,
    "leg": 0.40,
    "rectangle_area": 0.60,
    "triangle_area": 0.40,
    "circle_angle": 0.40,
    "circle_area": 0.35,
} | dict.fromkeys(OOD_KINDS, 0.45)
"""Share of the training solutions of a kind that have the correct approach."""

READ_QUESTION = "Read the numbers."


@dataclass(frozen=True)
class Schedule:
    """Optimizer steps of the three stages, problems per batch and in total, and peak learning rates.

    The first two stages share one learning rate schedule; the last has its own.
    """

    read_steps: int = 300
    solve_steps: int = 1200
    settle_steps: int = 300
    batch_size: int = 64
    pool: int = 12000
    learning_rate: float = 1.5e-3
    settle_learning_rate: float = 4e-4
    warmup_steps: int = 50


def training_problems(count: int, seed: int) -> list[GeometryProblem]:
    """Generate problems of all kinds and sizes from the training part of the hash space."""
    split = Split(tuple(KINDS), count, seed, TRAIN, large=None)
    return [problem for problem, _ in zip(draw_split(split), range(count), strict=False)]


def corpus(problems: Sequence[GeometryProblem], rng: random.Random) -> list[str]:
    """Return texts for the tokenizer: questions, solutions by all approaches, and turns of the chat template."""
    texts = ["system\nYou are a helpful assistant.", "user\n", "assistant\n", READ_QUESTION] * 50
    for problem in problems:
        texts.append(problem.sketch.question)
        texts += [problem.solution(rng, approach) for approach in range(len(problem.sketch.approaches))]
    return texts


def draw_solution(problem: GeometryProblem, rng: random.Random, varied: bool) -> str:
    """Sample a solution that has the correct approach with probability `CORRECT_SHARE`."""
    approaches = len(problem.sketch.approaches)
    correct = rng.random() < CORRECT_SHARE[problem.kind]
    return problem.solution(rng, 0 if correct else rng.randrange(1, approaches), varied)


class Batches:
    """Training batches: images, prompts and target texts, padded on the right."""

    def __init__(self, problems: Sequence[GeometryProblem], processor, seed: int) -> None:
        self._rng = random.Random(seed)
        self._rendered = [(problem, draw_pixels(problem)) for problem in problems]
        self._tokenizer, self._image_processor = processor.tokenizer, processor.image_processor
        message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "QUESTION"}]}]
        template = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        merged = (CELLS // self._image_processor.merge_size) ** 2
        self._template = template.replace("<|image_pad|>", "<|image_pad|>" * merged)

    def sample(self, size: int, stage: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Return model inputs, labels (B, L) with -100 outside the target, and the mask (B, L) of digits read."""
        sampled = self._rng.choices(self._rendered, k=size)
        sequences, labels, digits = [], [], []
        for problem, _ in sampled:
            first_line = " and ".join(map(str, problem.sketch.numbers)) + "."
            question = READ_QUESTION if stage == "read" else problem.sketch.question
            target = first_line if stage == "read" else draw_solution(problem, self._rng, stage == "solve")
            prompt = self._tokenizer.encode(self._template.replace("QUESTION", question), add_special_tokens=False)
            answer = self._tokenizer.encode(target + "<|im_end|>", add_special_tokens=False)
            texts = self._tokenizer.convert_ids_to_tokens(answer)
            end = next((i for i, text in enumerate(texts) if "." in text), len(texts))
            sequences.append(torch.tensor(prompt + answer))
            labels.append(torch.tensor([-100] * len(prompt) + answer))
            digits.append(torch.tensor([False] * len(prompt) + [t.isdigit() and i < end for i, t in enumerate(texts)]))
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad(sequences, batch_first=True, padding_value=self._tokenizer.pad_token_id)
        images = self._image_processor([pixels for _, pixels in sampled], return_tensors="pt")
        # The image is at the same place in all rows, so all rows have the positions of the first row. They are passed
        # because transformers 5 computes them only with `mm_token_type_ids`, which 4.57 does not have. No attention
        # mask is needed: with padding on the right and causal attention, no target attends to padding.
        pad_id = self._tokenizer.convert_tokens_to_ids("<|image_pad|>")
        positions, _ = mrope_positions(ids[0], images["image_grid_thw"][:1], pad_id, self._image_processor.merge_size)
        inputs = {"input_ids": ids, "position_ids": positions[:, None].expand(-1, size, -1), **images}
        return inputs, pad(labels, batch_first=True, padding_value=-100), pad(digits, batch_first=True)


def draw_pixels(problem: GeometryProblem) -> torch.Tensor:
    """(3, H, W) uint8."""
    canvas = Canvas(mirror=problem.mirror, pose=problem.pose)
    problem.sketch.draw(canvas)
    return torch.from_numpy(np.asarray(canvas.image()).copy()).permute(2, 0, 1)


def settle(model, processor, problems: Sequence[GeometryProblem], schedule: Schedule, seed: int) -> None:
    """Run the last stage."""
    batches = Batches(problems, processor, seed + 1)
    rates = cosine(schedule.settle_learning_rate, schedule.settle_steps, schedule.warmup_steps)
    fine_tune("settle", model, batches, new_optimizer(model), rates, schedule.batch_size)


def train(folder: Path, schedule: Schedule, seed: int) -> None:
    """Train the policy and write tokenizer, configuration and weights to `folder`."""
    keep_freed_memory()
    problems = training_problems(schedule.pool, seed)
    tokenizer = train_tokenizer(corpus(problems[:3000], random.Random(seed)), SPECIAL_TOKENS, vocabulary_size=640)
    write_processor(tokenizer, folder)
    write_config(tokenizer, folder)
    processor = AutoProcessor.from_pretrained(folder)
    model = new_model(folder, seed).train()
    parameters = sum(p.numel() for p in model.parameters())
    logger.info("%s parameters, vocabulary %d", f"{parameters:,}", len(processor.tokenizer))
    batches, optimizer = Batches(problems, processor, seed), new_optimizer(model)
    rates = cosine(schedule.learning_rate, schedule.read_steps + schedule.solve_steps, schedule.warmup_steps)
    fine_tune("read", model, batches, optimizer, rates[: schedule.read_steps], schedule.batch_size)
    fine_tune("solve", model, batches, optimizer, rates[schedule.read_steps :], schedule.batch_size)
    settle(model, processor, problems, schedule, seed)
    write_model(model, folder)
    recipe = {"seed": seed, **asdict(schedule), "correct_share": CORRECT_SHARE}
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")


@job
def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser("warmstart", "echorl_vl.tiny.warmstart", __doc__)
    parser.add_argument(
        "--out", type=Path, default=MODEL_FOLDER, help="folder to write (default: the shipped policy's)"
    )
    parser.add_argument("--seed", type=int, default=0)
    for name in ("read", "solve", "settle"):
        default = getattr(Schedule, f"{name}_steps")
        parser.add_argument(f"--{name}-steps", type=int, default=default, help=f"default: {default}")
    options = parse_arguments(parser, arguments)
    train(options.out, Schedule(options.read_steps, options.solve_steps, options.settle_steps), options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
