"""Micro-batches that are larger than one rank's share of a batch, on the engines that run on Ray: capped, and said."""

from __future__ import annotations

import copy

from .dump import get_value, set_value
from .schema import Config


def capped(config: Config) -> tuple[Config, list[str]]:
    """The configuration with micro-batches of at most the rollouts of one rank, and a line about each that changed.

    Nothing is computed otherwise: such a micro-batch is the whole share of the rank. EasyR1 and verl both refuse it.
    """
    changed = copy.deepcopy(config)
    changed.source = config.source
    lines = []
    n, prompts = config.worker.rollout.n, config.data.rollout_batch_size
    for role in trained_roles(config):
        ranks, batch = data_ranks(config, role), get_value(config, f"worker.{role}.global_batch_size")
        for kind, rows in (("update", batch * n // ranks), ("experience", prompts * n // ranks)):
            key = f"worker.{role}.micro_batch_size_per_device_for_{kind}"
            given = get_value(config, key)
            if given > rows > 0:
                set_value(changed, key, rows)
                lines.append(f"{key} = {rows} in place of {given}: one rank has no more rollouts in a batch")
    return changed, lines


def trained_roles(config: Config) -> list[str]:
    """The sections of `worker` whose models are updated."""
    return ["actor", "critic"] if config.algorithm.adv_estimator == "gae" else ["actor"]


def world_size(config: Config) -> int:
    """GPUs of the whole training: one worker process each."""
    return config.trainer.nnodes * config.trainer.n_gpus_per_node


def data_ranks(config: Config, role: str) -> int:
    """Ranks over which the rows of a batch are spread: `ulysses_size` GPUs share the same ones."""
    return max(1, world_size(config) // get_value(config, f"worker.{role}").ulysses_size)
