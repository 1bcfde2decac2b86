"""High-entropy steps: delete steps from correct solutions and let the policy complete the rest.

A solution is a verified rollout, the first one of its problem that is not truncated and has at least two steps before
the answer. Its *body* consists of the steps before the first one with \\boxed{} (without a box, before the last step).
The step with the answer is always removed; a final calculation is part of the body and may remain.

Of the S steps in the body, a share q is deleted: floor(q S) steps, and one more with probability q S - floor(q S), so
that the mean share is q even for small S. The deleted steps are those of highest entropy H(s), of lowest entropy, or
random ones. The remaining steps follow the prompt, like a hint, and the policy continues from there. The reward grades
only the continuation, which has to state the answer and may have the length of a whole response.

The three orders delete the same number of steps from the same solutions, and the continuations use the same random
numbers. A larger share deletes a superset of a smaller one. The number of tokens and the positions may differ, so the
share of deleted tokens and the mean position of deleted steps are reported too. The policy may regenerate a deleted
step: the experiment measures whether it has to, and can.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from echorl_vl.core import step_entropies
from echorl_vl.engines.local.strategies.hints import with_hint
from echorl_vl.errors import UserError
from echorl_vl.evidence.experiment import Experiment, Results, Table
from echorl_vl.evidence.plots import banded
from echorl_vl.evidence.probe import Probe
from echorl_vl.evidence.runs import START, Measurement, Run, train_pair
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import Contrast, interval
from echorl_vl.evidence.store import Store
from echorl_vl.outputs.plot_style import dress, panel_grid, percent_axis, save, style
from echorl_vl.shares import percent
from echorl_vl.types import Prompt

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5)
ORDERS = ("highest", "lowest", "random")
PROBLEMS = 300
TRIES = 4  # rollouts per problem to find a solution
LEAST_STEPS = 2
COLUMNS = ("accuracy", "tokens", "places")


class Solution(NamedTuple):
    """A prompt, the tokens (l,) of each step of the body, and the entropy of each step in nats."""

    prompt: Prompt
    steps: list[Tensor]
    entropies: list[float]


def deletion_order(entropies: Sequence[float], order: str, rng: random.Random) -> list[int]:
    """Return the steps in the order of deletion; ties keep the order of the steps."""
    steps = list(range(len(entropies)))
    if order == "random":
        rng.shuffle(steps)
        return steps
    return sorted(steps, key=lambda step: entropies[step], reverse=order == "highest")


def deleted_count(steps: int, share: float, chance: float) -> int:
    """Return floor(share * steps), plus one if `chance`, uniform in [0, 1), is below the remainder."""
    exact = share * steps
    return math.floor(exact) + (chance < exact - math.floor(exact))


def find_solutions(probe: Probe, seed: int, spec: str) -> list[Solution]:
    """Sample rollouts and return one solution of each problem that has one."""
    prompts = probe.prompts(probe.problems(spec, PROBLEMS, seed))
    sample = probe.sample(prompts, TRIES, seed, "solutions")
    rollouts, decode = sample.rollouts, probe.policy.tokenizer.batch_decode
    steps = probe.steps(rollouts)
    entropies = step_entropies(rollouts.entropy, steps)
    found: dict[int, Solution] = {}
    for row in sample.verified.nonzero().squeeze(1).tolist():
        group = int(rollouts.group_ids[row])
        if group in found or bool(rollouts.truncated[row]):
            continue
        pieces = [rollouts.tokens[row][steps[row] == step] for step in range(int(steps[row].max()) + 1)]
        boxed = [step for step, text in enumerate(decode([piece.tolist() for piece in pieces])) if "\\boxed" in text]
        body = boxed[0] if boxed else len(pieces) - 1
        if body >= LEAST_STEPS:
            found[group] = Solution(prompts[group], pieces[:body], entropies[row, :body].tolist())
    return [found[group] for group in sorted(found)]


def deletions(probe: Probe, seed: int, spec: str) -> dict[str, Any]:
    """Measure the accuracy of continuations by order and share.

    Also returns the share of deleted tokens and the mean position of the deleted steps, from 0 for the first step of
    the body to 1 for the last; None if no step was deleted.

    Raises:
        UserError: there are no solutions.
    """
    solutions = find_solutions(probe, seed, spec)
    if not solutions:
        raise UserError(f"{spec}: the policy has no correct solution with {LEAST_STEPS} steps before the answer")
    rng = random.Random(seed)
    chances = [rng.random() for _ in solutions]
    found: dict[str, dict[str, list]] = {name: {order: [] for order in ORDERS} for name in COLUMNS}
    baseline: float | None = None  # accuracy without deletions, the same for every order
    for order in ORDERS:
        ranked = [deletion_order(solution.entropies, order, rng) for solution in solutions]
        for share in SHARES:
            deleted = [
                set(steps[: deleted_count(len(steps), share, chance)])
                for steps, chance in zip(ranked, chances, strict=True)
            ]
            if share or baseline is None:
                pairs = zip(solutions, deleted, strict=True)
                prompts = [prompt_without(solution, its_deleted) for solution, its_deleted in pairs]
                accuracy = probe.sample(prompts, 1, seed, "finish").verified.double().mean().item()
                baseline = accuracy if baseline is None else baseline
            found["accuracy"][order].append(accuracy if share else baseline)
            found["tokens"][order].append(_token_share(solutions, deleted))
            found["places"][order].append(_mean_position(solutions, deleted))
    steps = sum(len(solution.steps) for solution in solutions) / len(solutions)
    return {"solutions": len(solutions), "body_steps": steps, **found}


def _token_share(solutions: Sequence[Solution], deleted: Sequence[set[int]]) -> float:
    pairs = zip(solutions, deleted, strict=True)
    tokens = sum(len(solution.steps[step]) for solution, steps in pairs for step in steps)
    return tokens / sum(len(step) for solution in solutions for step in solution.steps)


def _mean_position(solutions: Sequence[Solution], deleted: Sequence[set[int]]) -> float | None:
    pairs = zip(solutions, deleted, strict=True)
    positions = [step / (len(solution.steps) - 1) for solution, steps in pairs for step in steps]
    return sum(positions) / len(positions) if positions else None


def prompt_without(solution: Solution, deleted: set[int]) -> Prompt:
    """Return the prompt followed by the steps that are not deleted."""
    prompt = solution.prompt
    for index, tokens in enumerate(solution.steps):
        if index not in deleted:
            prompt = with_hint(prompt, tokens.to(prompt.input_ids.device))
    return prompt


def _measurement(setup: Setup, seed: int, stage: int) -> Measurement:
    spec = next(iter(setup.splits.values()))
    run = train_pair(setup, seed)["without"] if stage else None
    return Measurement(setup, deletions, seed, run, stage or START, {"spec": spec}, seconds=25.0)


def runs(setup: Setup) -> list[Run]:
    runs = [train_pair(setup, seed)["without"] for seed in setup.seeds]
    return [*runs, *(_measurement(setup, seed, stage) for seed in setup.seeds for stage in (0, setup.steps))]


def analyse(setup: Setup, store: Store) -> Results:
    raw: dict[str, Any] = {"shares": SHARES, "stages": {}}
    contrasts: dict[int, list[Contrast]] = {}
    for stage in (0, setup.steps):
        found = [store.result(_measurement(setup, seed, stage)) for seed in setup.seeds]
        of = {name: {order: [one[name][order] for one in found] for order in ORDERS} for name in COLUMNS}
        counts = {name: [one[name] for one in found] for name in ("solutions", "body_steps")}
        raw["stages"][str(stage)] = of | counts
        contrasts[stage] = [_contrast(of["accuracy"], order, stage) for order in ORDERS[1:]]
    rows = []
    for stage, of in raw["stages"].items():
        for order in ORDERS:
            columns = (str(interval(column)) for column in zip(*of["accuracy"][order], strict=True))
            means = (f"{_mean(_mean(one[1:]) for one in of[name][order]):.2f}" for name in COLUMNS[1:])
            rows.append((stage, order, *columns, *means))
    shares = (f"{percent(share)} of the steps" for share in SHARES)
    columns = ("training step", "deleted", *shares, "mean share of tokens", "mean position (0 first, 1 last)")
    return Results(contrasts[setup.steps], Table(columns, rows), raw, contrasts[0])


def _contrast(accuracy: dict[str, list[list[float]]], order: str, stage: int) -> Contrast:
    when = "after" if stage else "before"
    values = tuple(
        _mean(other[1:]) - _mean(highest[1:])
        for other, highest in zip(accuracy[order], accuracy["highest"], strict=True)
    )
    name = f"accuracy: {order} deleted minus highest deleted, mean over shares, {when} training"
    return Contrast(name, values, "above", len(ORDERS) - 1)


def _mean(values: Iterable[float | None]) -> float:
    """Return the mean of the values that are not None; nan if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def draw(raw: dict[str, Any], path: Path) -> None:
    with style():
        figure, grid = panel_grid(len(raw["stages"]))
        for axes, (stage, of) in zip(grid, raw["stages"].items(), strict=True):
            lines = {f"{order} entropy" if order != "random" else order: of["accuracy"][order] for order in ORDERS}
            percent_axis(axes, 0, 1.03)  # a little above 100 %, so that markers are not cut
            axes.set_xticks(raw["shares"], [percent(share) for share in raw["shares"]])
            banded(axes, raw["shares"], lines)
            subtitle = f"Policy at training step {stage}; mean and 95 % interval over seeds"
            dress(axes, "Continuing without some steps", subtitle, "accuracy", "deleted steps")
        save(figure, path)


EXPERIMENT = Experiment(
    "High-entropy steps",
    "deleting the steps of highest entropy from correct solutions costs more accuracy than deleting other steps",
    runs,
    analyse,
    draw,
)
