"""The overhead of EchoRL: paired steps with and without the echo term, in one process.

    python benchmarks/echo_overhead.py                  # pairs of steps of configs/geo3k_tiny.yaml

Both steps of a pair start from the same weights, sample the same rollouts and write no files, in random order. Prints
the medians of the paired ratios, from sampling to the end of the update: of wall-clock seconds, and of CPU seconds over
all threads, which depend less on other programs.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time

import torch
from ratios import describe

from echorl_vl.config import Config, load_config
from echorl_vl.core.seeds import step_generator
from echorl_vl.engines.local.advantages import compute_advantages
from echorl_vl.engines.local.allocator import keep_freed_memory
from echorl_vl.engines.local.context import TrainingContext, build_context
from echorl_vl.engines.local.optim import make_optimizer
from echorl_vl.engines.local.rollout import generate, grade
from echorl_vl.engines.local.sampling import training_params
from echorl_vl.engines.local.update import Updater
from echorl_vl.engines.train_batch import batch_metrics, mine_clips


def one_step(
    config: Config, context: TrainingContext, updater: Updater, step: int, coef: float
) -> tuple[float, float, float]:
    """Run one step; returns its wall-clock and CPU seconds, and the wall-clock seconds of mining."""
    prompts = [context.encoder.encode(context.train[index]) for index in context.order.batch(step)]
    started, cpu = time.perf_counter(), time.process_time()
    rollouts = generate(context.policy, prompts, training_params(config), step_generator(1, step, "rollout"))
    train_batch = compute_advantages(grade(rollouts, context.rewards, context.policy, config), config)
    mining = time.perf_counter()
    if coef:
        train_batch = mine_clips(train_batch, config.echo, context.splitter, step)
    mining = time.perf_counter() - mining
    updater.update(train_batch, coef)
    batch_metrics(train_batch, config.echo)
    return time.perf_counter() - started, time.process_time() - cpu, mining


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", nargs="?", default="configs/geo3k_tiny.yaml")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's choice)")
    options = parser.parse_args()
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    config = load_config(options.config, [*options.overrides, "data.val_files=''", "trainer.val_freq=-1"])
    context = build_context(config, print)
    weights = copy.deepcopy(context.policy.model.state_dict())
    ratios, cpu_ratios, mining_shares, base = [], [], [], []
    for pair in range(-2, options.pairs):  # two pairs to warm up
        seconds, cpu = {}, {}
        for coef in random.Random(pair).sample((0.0, config.echo.coef), 2):
            context.policy.model.load_state_dict(weights)
            updater = Updater(
                context.policy, make_optimizer(context.policy.model, config.worker.actor.optim), config, 1
            )
            seconds[coef], cpu[coef], mining = one_step(
                config, context, updater, pair % context.order.steps_per_epoch, coef
            )
            if coef and pair >= 0:
                mining_shares.append(mining / seconds[coef])
        if pair >= 0:
            ratios.append(seconds[config.echo.coef] / seconds[0.0])
            cpu_ratios.append(cpu[config.echo.coef] / cpu[0.0])
            base.append(seconds[0.0])
    context.rewards.close()
    print(f"{options.pairs} pairs, {torch.get_num_threads()} threads, {statistics.median(base):.2f} s per step without")
    for name, values in (("seconds", ratios), ("CPU seconds", cpu_ratios)):
        print(f"{name} with / without EchoRL: {describe(values)}")
    print(f"mining alone: {statistics.median(mining_shares):.2%} of the step")


if __name__ == "__main__":
    main()
