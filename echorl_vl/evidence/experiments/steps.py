"""Do high-entropy steps matter? Steps of correct solutions are deleted, and the policy finishes from what is left.

A solution is a verified rollout of the policy, one a problem: the first that ended by itself and has at least two steps
before the answer's. Its *body* is all that comes before the first step that holds \\boxed{} (without a box, before the
last step): the answer itself is always cut, so that it can't be read off. The last calculation stays in the body if it
is not chosen, and so does what it says.

Of the S steps of the body, a share q is deleted: floor(q S) steps, and one more with probability q S - floor(q S), so
that q is met on average although S is small. Which ones: those of highest entropy H(s), of lowest, or random ones.
What is left is joined in order behind the prompt, as a hint is, and the policy goes on from there; the reward reads the
continuation alone, which has to give the answer, with room for a whole response.

What makes it a comparison: the three orders delete the same number of steps of the same solutions and are finished with
the same random numbers. A larger share deletes what the smaller one did and more. They need not delete the same number
of tokens, or at the same places, so the share of the body's tokens that went and where the deleted steps stood are
reported too. The policy may write a deleted step anew: what is measured is whether it needs to, and can.
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
from echorl_vl.outputs.plot_style import dress, percent_axis, plt, save, style
from echorl_vl.shares import percent
from echorl_vl.types import Prompt

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5)
ORDERS = ("highest", "lowest", "random")
PROBLEMS = 300
TRIES = 4  # rollouts of a problem among which a solution is looked for
LEAST_STEPS = 2
COLUMNS = ("accuracy", "tokens", "places")


class Solution(NamedTuple):
    """prompt; the tokens (l,) of each body step; the steps' entropies in nats."""

    prompt: Prompt
    steps: list[Tensor]
    entropies: list[float]


def deletion_order(entropies: Sequence[float], order: str, rng: random.Random) -> list[int]:
    """Steps in the order in which they are deleted; equal entropies in the order of the steps."""
    steps = list(range(len(entropies)))
    if order == "random":
        rng.shuffle(steps)
        return steps
    return sorted(steps, key=lambda step: entropies[step], reverse=order == "highest")


def deleted_count(steps: int, share: float, chance: float) -> int:
    """floor(share * steps), and one more where `chance`, uniform in [0, 1), is below the rest."""
    exact = share * steps
    return math.floor(exact) + (chance < exact - math.floor(exact))


def find_solutions(probe: Probe, seed: int, spec: str) -> list[Solution]:
    """One solution of each problem that has one."""
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
    """By order and share: accuracy of finishing, share of the body's tokens deleted, and where the deleted steps stood.

    The place of a step is 0 for the first of its body and 1 for the last; the mean is None where none was deleted.

    Raises UserError if there is no solution to delete from.
    """
    solutions = find_solutions(probe, seed, spec)
    if not solutions:
        raise UserError(f"{spec}: no correct solution with {LEAST_STEPS} steps before the answer; nothing to delete")
    rng = random.Random(seed)
    chances = [rng.random() for _ in solutions]
    found: dict[str, dict[str, list]] = {name: {order: [] for order in ORDERS} for name in COLUMNS}
    nothing: float | None = None  # accuracy with nothing deleted, the same in every order
    for order in ORDERS:
        ranked = [deletion_order(solution.entropies, order, rng) for solution in solutions]
        for share in SHARES:
            lost = [
                set(steps[: deleted_count(len(steps), share, chance)])
                for steps, chance in zip(ranked, chances, strict=True)
            ]
            if share or nothing is None:
                prompts = [left_over(solution, gone) for solution, gone in zip(solutions, lost, strict=True)]
                accuracy = probe.sample(prompts, 1, seed, "finish").verified.double().mean().item()
                nothing = accuracy if nothing is None else nothing
            found["accuracy"][order].append(accuracy if share else nothing)
            found["tokens"][order].append(_token_share(solutions, lost))
            found["places"][order].append(_place(solutions, lost))
    steps = sum(len(solution.steps) for solution in solutions) / len(solutions)
    return {"solutions": len(solutions), "body_steps": steps, **found}


def _token_share(solutions: Sequence[Solution], lost: Sequence[set[int]]) -> float:
    gone = sum(len(solution.steps[step]) for solution, steps in zip(solutions, lost, strict=True) for step in steps)
    return gone / sum(len(piece) for solution in solutions for piece in solution.steps)


def _place(solutions: Sequence[Solution], lost: Sequence[set[int]]) -> float | None:
    places = [
        step / (len(solution.steps) - 1) for solution, steps in zip(solutions, lost, strict=True) for step in steps
    ]
    return sum(places) / len(places) if places else None


def left_over(solution: Solution, lost: set[int]) -> Prompt:
    """The prompt with the steps that were not deleted behind it, in their order."""
    prompt = solution.prompt
    for step, piece in enumerate(solution.steps):
        if step not in lost:
            prompt = with_hint(prompt, piece.to(prompt.input_ids.device))
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
    columns = ("training step", "deleted", *shares, "tokens deleted, mean", "place (0 first, 1 last)")
    return Results(contrasts[setup.steps], Table(columns, rows), raw, contrasts[0])


def _contrast(accuracy: dict[str, list[list[float]]], order: str, stage: int) -> Contrast:
    when = "after" if stage else "before"
    values = tuple(
        _mean(other[1:]) - _mean(highest[1:])
        for other, highest in zip(accuracy[order], accuracy["highest"], strict=True)
    )
    name = f"accuracy with {order} deleted less with highest deleted, mean of the shares, {when} training"
    return Contrast(name, values, "above", len(ORDERS) - 1)


def _mean(values: Iterable[float | None]) -> float:
    """Mean of the values that are there; nan for none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def draw(raw: dict[str, Any], path: Path) -> None:
    with style():
        figure = plt.figure(figsize=(11.4, 4.3))
        for index, (stage, of) in enumerate(raw["stages"].items()):
            axes = figure.add_axes((0.07 + 0.5 * index, 0.13, 0.28, 0.7))
            lines = {f"{order} entropy" if order != "random" else order: of["accuracy"][order] for order in ORDERS}
            percent_axis(axes, 0, 1.03)  # the points at 100 % in full
            axes.set_xticks(raw["shares"], [percent(share) for share in raw["shares"]])
            banded(axes, raw["shares"], lines)
            subtitle = f"Policy at training step {stage}; mean and 95 % interval over seeds"
            dress(axes, "Finishing without some steps", subtitle, "accuracy", "steps deleted")
        save(figure, path)


EXPERIMENT = Experiment(
    "High-entropy steps",
    "deleting the steps of highest entropy from correct solutions costs more accuracy than deleting others",
    runs,
    analyse,
    draw,
)
