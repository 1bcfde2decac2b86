"""Clips of the paper's length that end at another step: what is the choice of the step worth by itself?

    python -m eval.evidence.choices CHOICE CONFIG [key=value ...]

trains as `python -m echorl_vl.train CONFIG` does, with other clips. The paper's EchoClip of a group is the prefix of L
text tokens that ends with the step of highest entropy. Here each of them is replaced by one clip of *the same group,
the same weight and exactly the same L*, so that the two losses differ in nothing but which tokens they echo:

    rollouts   those that the paper's rule may mine, if they have at least L text tokens (the clip's own always has)
    step       random   any step of them, all equally likely
               first    the first step of one of them, drawn at random
               last     the last step of one of them, drawn at random; it states the answer
               lowest   the step of lowest entropy among all of theirs
               highest  the step of highest entropy: the paper's own clips again, which a test holds this file to
    clip       the L text tokens that end with the step; where fewer than L come before its end, the first L of the
               rollout, which hold the step as well

A clip need not begin at the rollout's beginning, then. Its tokens' log-probs are conditioned on all that precedes
them, as ever, and come from the same forward pass. It may share tokens with the paper's, all of them where responses
are short: `OVERLAP` says how many, and bounds how far two choices can differ.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from echorl_vl import train
from echorl_vl.core import EchoClips, EchoConfig, Splitter
from echorl_vl.core.entropy import step_sums
from echorl_vl.core.seeds import step_generator
from echorl_vl.engines.ray.hooks import patched
from echorl_vl.engines.train_batch import batch_metrics, mine_clips
from echorl_vl.outputs.command import job
from echorl_vl.outputs.terminal import print_error
from echorl_vl.types import TrainBatch

CHOICES = ("random", "first", "last", "lowest", "highest")
OVERLAP = "echo/overlap_with_paper"
"""Metric of a step: sum of min(w, w') over tokens / sum of w, for token weights w of the paper's clips and w' here."""


def moved_clips(
    clips: EchoClips,
    entropy: Tensor,
    step_ids: Tensor,
    group_ids: Tensor,
    minable: Tensor,
    choice: str,
    generator: torch.Generator,
    min_step_tokens: int = 1,
) -> EchoClips:
    """Each clip replaced by one of the same length and weight that ends at the step of `choice` (see above).

    Args:
        clips: the paper's. entropy: (B, T) nats. step_ids: (B, T) int64, -1 outside of steps. group_ids: (B,).
        minable: (B,) bool, rollouts that may be mined. generator: a CPU generator, for the draws.
        min_step_tokens: shorter steps are not chosen for their entropy or at random; where all are shorter, any may
            be. The first step is the first and the last the last, however short.
    """
    sums, counts = (part.cpu() for part in step_sums(entropy, step_ids))
    ids, groups, may = step_ids.cpu(), group_ids.cpu(), minable.cpu()
    tokens = (ids >= 0).sum(1)
    rows, ends, entropies = [], [], []
    weights = torch.zeros(ids.shape)
    for own, length, weight in zip(clips.rows.tolist(), clips.lengths.tolist(), clips.weights.tolist(), strict=True):
        candidates = ((groups == groups[own]) & may & (tokens >= length)).nonzero().squeeze(1)
        row, step = _choose(
            candidates, (sums / counts)[candidates], counts[candidates], choice, generator, min_step_tokens
        )
        position = (ids[row] >= 0).nonzero().squeeze(1)
        stop = max(int((ids[row][position] <= step).sum()), length)
        inside = position[stop - length : stop]
        weights[row, inside] += weight / length
        rows.append(row)
        ends.append(int(inside[-1]))
        entropies.append(float(sums[row, step] / counts[row, step]))
    order = sorted(range(len(rows)), key=lambda index: (rows[index], ends[index]))
    device = entropy.device
    return replace(
        clips,
        rows=torch.tensor([rows[index] for index in order], dtype=torch.long, device=device),
        ends=torch.tensor([ends[index] for index in order], dtype=torch.long, device=device),
        lengths=clips.lengths[order],
        step_entropies=torch.tensor([entropies[index] for index in order], device=device),
        weights=clips.weights[order],
        token_weights=weights.to(device),
    )


def _choose(
    rows: Tensor, entropies: Tensor, counts: Tensor, choice: str, generator: torch.Generator, min_step_tokens: int
) -> tuple[int, int]:
    """(row, step) of `choice` among candidate rows (R,) with step entropies and text tokens (R, S)."""
    there = counts > 0
    long_enough = counts >= max(1, min_step_tokens)
    eligible = long_enough if long_enough.any() else there
    if choice in ("first", "last"):
        row = int(torch.randint(len(rows), (), generator=generator))
        steps = there[row].nonzero().squeeze(1)
        return int(rows[row]), int(steps[0 if choice == "first" else -1])
    if choice == "random":
        places = eligible.nonzero()
        row, step = places[int(torch.randint(len(places), (), generator=generator))].tolist()
        return int(rows[row]), step
    sign = 1.0 if choice == "highest" else -1.0
    best = int((sign * entropies.float()).masked_fill(~eligible, -torch.inf).flatten().argmax())
    return int(rows[best // counts.shape[1]]), best % counts.shape[1]


class ChoiceOfSteps:
    """Stands in for `mine` and `batch_metrics` of `engines.train_batch`: the clips of a choice, and `OVERLAP`."""

    def __init__(self, choice: str) -> None:
        self.choice, self.overlap = choice, math.nan

    def mine_clips(self, train_batch: TrainBatch, config: EchoConfig, splitter: Splitter, step: int) -> None:
        """Mines as ever, then moves the clips."""
        mine_clips(train_batch, config, splitter, step)
        paper, rollouts = train_batch.clips, train_batch.rollouts
        minable = train_batch.verified & rollouts.is_on_policy
        if not config.include_truncated:
            minable = minable & ~rollouts.truncated
        train_batch.clips = moved_clips(
            paper,
            rollouts.entropy,
            train_batch.steps,
            rollouts.group_ids,
            minable,
            self.choice,
            step_generator(config.seed, step, f"clip at the {self.choice} step"),
            config.min_step_tokens,
        )
        self.overlap = overlap(paper, train_batch.clips)

    def metrics(self, train_batch: TrainBatch, config: EchoConfig) -> dict[str, float]:
        """Those of any run, and how much of the clips is the paper's."""
        return batch_metrics(train_batch, config) | {OVERLAP: self.overlap}


def overlap(paper: EchoClips, moved: EchoClips) -> float:
    """`OVERLAP` of two sets of clips with the same weight; nan where there are none."""
    whole = float(paper.token_weights.sum())
    return float(torch.minimum(paper.token_weights, moved.token_weights).sum()) / whole if whole else math.nan


@job
def main(arguments: Sequence[str] | None = None) -> int:
    """Trains with the clips of a choice; the exit status of `echorl_vl.train`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] not in CHOICES:
        found = arguments[0] if arguments else "nothing"
        print_error(f"found {found}; wanted one of {', '.join(CHOICES)}, then a configuration")
        return train.USAGE_ERROR
    from echorl_vl.engines.local import trainer

    chosen = ChoiceOfSteps(arguments[0])
    # the trainer calls both by these names, once a step
    with patched(trainer, mine_clips=chosen.mine_clips, batch_metrics=chosen.metrics):
        return train.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
