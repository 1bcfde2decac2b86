"""Train the tiny text policy: supervised fine-tuning on correct and incorrect solutions.

    python -m echorl_vl.tiny.arithmetic.warmstart --out echorl_vl/tiny/arithmetic/model      # 16 minutes on one core

There are two stages. In the first, the targets are calculations, all those with numbers up to `SIZE`, so that the
arithmetic of solutions is nearly always correct. In the second, the targets are whole solutions; a fixed share
(`CORRECT_SHARE`) has the correct approach, the others a plausible incorrect one. The first line of a solution names the
approach. The entropy of the policy peaks at that step, which reinforcement learning has to learn.

All problems are from the training part of the hash space, and no number is above `SIZE`, so the policy never sees the
numbers of ood_sizes. The out-of-domain kinds are included, because the policy could not answer them otherwise, but
rarely (`OOD_SHARE`) and mostly with incorrect solutions.
"""

from __future__ import annotations

import logging
import math
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
from transformers import AutoTokenizer

from echorl_vl.engines.local.allocator import keep_freed_memory
from echorl_vl.generators.arithmetic.generate import draw_split
from echorl_vl.generators.arithmetic.kinds import KINDS, OOD_KINDS, TRAIN_KINDS
from echorl_vl.generators.arithmetic.problem import SIZE, ArithmeticProblem, calculate
from echorl_vl.generators.splits import TRAIN, Split
from echorl_vl.outputs.command import job, make_parser, parse_arguments
from echorl_vl.tiny.arithmetic.build import MODEL_FOLDER, SPECIAL_TOKENS, VOCABULARY_SIZE, new_model, write_configs
from echorl_vl.tiny.files import train_tokenizer, write_json, write_weights
from echorl_vl.tiny.tuning import cosine, fine_tune, new_optimizer

logger = logging.getLogger("echorl_vl.tiny.arithmetic.warmstart")  # __name__ is __main__ under python -m

CORRECT_SHARE = {
    "bags": 0.45,
    "brackets": 0.50,
    "precedence": 0.60,
    "remainder": 0.40,
    "discount": 0.40,
    "average": 0.50,
    "sequence": 0.60,
    "units": 0.45,
    "share": 0.50,
    "change": 0.55,
} | dict.fromkeys(OOD_KINDS, 0.25)
"""Share of the training solutions of a kind that have the correct approach."""

OOD_SHARE = 0.15
"""Share of the training problems with an out-of-domain kind."""

EXERCISE_LINES = 5
"""Number of calculations per exercise."""


@dataclass(frozen=True)
class Schedule:
    """Optimizer steps of the two stages, which share one learning rate schedule, and the composition of batches.

    `exercise_share` is the share of rows of the second stage that are exercises of the first.
    """

    calculate_steps: int = 2000
    solve_steps: int = 3500
    batch_size: int = 16
    exercise_share: float = 0.35
    problems_per_kind: int = 1500
    learning_rate: float = 2e-3
    warmup_steps: int = 50


def training_problems(per_kind: int, seed: int) -> dict[str, list[ArithmeticProblem]]:
    """Generate up to `per_kind` problems of each kind, none large, from the training part of the hash space."""
    problems = {}
    for kind in KINDS:
        split = Split((kind,), per_kind, seed, TRAIN, large=False)
        problems[kind] = [problem for _, problem in zip(range(per_kind), draw_split(split), strict=False)]
    return problems


def corpus(problems: dict[str, list[ArithmeticProblem]]) -> list[str]:
    """Return texts for the tokenizer: questions, solutions by all approaches, and turns of the chat template."""
    texts = ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * 50
    for kind_problems in problems.values():
        for problem in kind_problems[:150]:
            texts.append(problem.question)
            texts += [problem.solution(approach) for approach in range(len(problem.approaches))]
    return texts


def calculations() -> dict[str, list[str]]:
    """Return all valid calculations ("3 + 4 = 7") with numbers up to `SIZE`, by operation."""
    lines = defaultdict(list)
    for a, operation, b in product(range(1, SIZE + 1), "+-*/", range(1, SIZE + 1)):
        approach = calculate("", (a, operation, b))
        if approach is not None and int(approach.answer) <= SIZE:
            lines[operation] += approach.steps
    return dict(lines)


class Batches:
    """Training batches: prompts and target texts, padded on the right."""

    def __init__(self, problems: dict[str, list[ArithmeticProblem]], tokenizer, exercise_share: float, seed: int):
        self._rng = random.Random(seed)
        self._problems, self._calculations = problems, calculations()
        # There are far more sums than products: with equal weights, each sum would be too rare to be learned.
        self._weights = [math.sqrt(len(facts)) for facts in self._calculations.values()]
        self._tokenizer, self._exercise_share = tokenizer, exercise_share
        message = [{"role": "user", "content": "QUESTION"}]
        self._template = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        self._results_follow = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("1 = 2")[1])

    def sample(self, size: int, stage: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Return model inputs, labels (B, L) with -100 outside the target, and the mask (B, L) of digits of results."""
        sequences, labels, digits = [], [], []
        for _ in range(size):
            exercise = stage == "calculate" or self._rng.random() < self._exercise_share
            question, target = self._exercise() if exercise else self._solution()
            prompt = self._encode(self._template.replace("QUESTION", question))
            answer = self._encode(target + "<|im_end|>")
            sequences.append(torch.tensor(prompt + answer))
            labels.append(torch.tensor([-100] * len(prompt) + answer))
            digits.append(torch.tensor([False] * len(prompt) + self._results(answer)))
        pad = torch.nn.utils.rnn.pad_sequence
        # With padding on the right and causal attention, no target attends to padding: no attention mask is needed.
        ids = pad(sequences, batch_first=True, padding_value=self._tokenizer.pad_token_id)
        return {"input_ids": ids}, pad(labels, batch_first=True, padding_value=-100), pad(digits, batch_first=True)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _exercise(self) -> tuple[str, str]:
        operations = self._rng.choices(list(self._calculations), self._weights, k=EXERCISE_LINES)
        lines = [self._rng.choice(self._calculations[operation]) for operation in operations]
        return "Compute " + ", ".join(line.split(" =")[0] for line in lines) + ".", "\n".join(lines)

    def _solution(self) -> tuple[str, str]:
        ood = self._rng.random() < OOD_SHARE
        problem = self._rng.choice(self._problems[self._rng.choice(list(OOD_KINDS if ood else TRAIN_KINDS))])
        correct = self._rng.random() < CORRECT_SHARE[problem.kind]
        return problem.question, problem.solution(0 if correct else self._rng.randrange(1, len(problem.approaches)))

    def _results(self, answer: list[int]) -> list[bool]:
        mask, inside = [], False
        for token, text in zip(answer, self._tokenizer.convert_ids_to_tokens(answer), strict=True):
            inside = token == self._results_follow or (inside and (text.isdigit() or text == "\u0120"))
            mask.append(inside and text.isdigit())
        return mask


def train(folder: Path, schedule: Schedule, seed: int) -> None:
    """Train the policy and write tokenizer, configuration and weights to `folder`; the seed determines every byte."""
    torch.set_num_threads(1)  # several threads would change the order of additions, and so the weights
    keep_freed_memory()
    problems = training_problems(schedule.problems_per_kind, seed)
    write_configs(train_tokenizer(corpus(problems), SPECIAL_TOKENS, VOCABULARY_SIZE), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = new_model(folder, seed).train()
    parameters = sum(p.numel() for p in model.parameters())
    logger.info("%s parameters, vocabulary %d", f"{parameters:,}", len(tokenizer))
    batches = Batches(problems, tokenizer, schedule.exercise_share, seed)
    optimizer = new_optimizer(model)
    rates = cosine(schedule.learning_rate, schedule.calculate_steps + schedule.solve_steps, schedule.warmup_steps)
    fine_tune("calculate", model, batches, optimizer, rates[: schedule.calculate_steps], schedule.batch_size)
    fine_tune("solve", model, batches, optimizer, rates[schedule.calculate_steps :], schedule.batch_size)
    write_weights(model.state_dict(), folder)
    recipe = {"seed": seed, **asdict(schedule), "correct_share": CORRECT_SHARE, "ood_share": OOD_SHARE}
    write_json(folder / "recipe.json", recipe)


@job
def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser("warmstart-text", "echorl_vl.tiny.arithmetic.warmstart", __doc__)
    parser.add_argument(
        "--out", type=Path, default=MODEL_FOLDER, help="folder to write (default: the shipped policy's)"
    )
    parser.add_argument("--seed", type=int, default=0)
    for name in ("calculate", "solve"):
        default = getattr(Schedule, f"{name}_steps")
        parser.add_argument(f"--{name}-steps", type=int, default=default, help=f"default: {default}")
    options = parse_arguments(parser, arguments)
    train(options.out, Schedule(options.calculate_steps, options.solve_steps), options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
