"""The time of EchoClip mining: splitting at newlines, step entropies, and the selection of clips.

    python benchmarks/mining.py                      # 1,024 rollouts of 2,048 tokens, groups of 8, 2 threads
    python benchmarks/mining.py --rows 4096 --select topk

Prints the median and spread of the wall-clock time over repeats, for each part and in total, and the CPU time over all
threads, which depends less on other processes. Rollouts are random tokens of a made-up vocabulary of Qwen2.5's size, in
which about one token in `--step-tokens` has a newline. Response lengths are between half and all of `--length`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from echorl_vl.core import (
    SELECTORS,
    EchoClips,
    EchoConfig,
    NewlineSplitter,
    TokenTable,
    mine_echo_clips,
    step_entropies,
    step_ids,
)

VOCABULARY = 151_665


@dataclass(frozen=True)
class Batch:
    tokens: Tensor  # (B, T)
    text_mask: Tensor  # (B, T)
    entropy: Tensor  # (B, T)
    group_ids: Tensor  # (B,)
    verified: Tensor  # (B,)


def make_batch(rows: int, length: int, group: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCABULARY, (rows, length), generator=generator)
    lengths = torch.randint(length // 2, length + 1, (rows, 1), generator=generator)
    return Batch(
        tokens=tokens,
        text_mask=torch.arange(length) < lengths,
        entropy=torch.rand(rows, length, generator=generator),
        group_ids=torch.arange(rows) // group,
        verified=torch.rand(rows, generator=generator) < 0.7,
    )


def make_splitter(step_tokens: int) -> NewlineSplitter:
    """Make a vocabulary in which one token in `step_tokens` has a newline, and a third of these nothing else."""
    ending = [("\n", ".\n", ")\n\n")[token // step_tokens % 3] for token in range(VOCABULARY)]
    texts = [ending[token] if token % step_tokens == 0 else " word" for token in range(VOCABULARY)]
    return NewlineSplitter(TokenTable(texts))


def mine_clips(batch: Batch, splitter: NewlineSplitter, config: EchoConfig) -> EchoClips:
    ids = step_ids(batch.tokens, batch.text_mask, splitter)
    return mine_echo_clips(batch.entropy, ids, batch.group_ids, batch.verified, config)


def measure(call: Callable[[], object], repeats: int) -> list[tuple[float, float]]:
    """Measure (wall-clock, CPU) milliseconds of each repeat, after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
    return times[2:]


def report(name: str, times: list[tuple[float, float]]) -> None:
    wall, cpu = zip(*times, strict=True)
    low, middle, high = statistics.quantiles(wall, n=4)
    spread = f"quartiles {low:6.1f} .. {high:6.1f}   range {min(wall):6.1f} .. {max(wall):6.1f}"
    print(f"{name:<18} median {middle:6.1f} ms   {spread}   CPU time {statistics.median(cpu):6.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024, help="rollouts (default: %(default)s)")
    parser.add_argument("--length", type=int, default=2048, help="tokens, padded (default: %(default)s)")
    parser.add_argument("--group", type=int, default=8, help="rollouts per prompt (default: %(default)s)")
    parser.add_argument("--step-tokens", type=int, default=20, help="mean length of a step (default: %(default)s)")
    parser.add_argument("--select", choices=SELECTORS, default="max")
    parser.add_argument("--k", type=int, default=4, help="clips per group for topk (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    batch = make_batch(args.rows, args.length, args.group, args.seed)
    splitter = make_splitter(args.step_tokens)
    config = EchoConfig(select=args.select, k=args.k)
    ids = step_ids(batch.tokens, batch.text_mask, splitter)
    clips = mine_clips(batch, splitter, config)

    tokens, steps = int(batch.text_mask.sum()), int((ids.amax(1) + 1).sum())
    print(f"{args.rows} rollouts x {args.length} tokens ({tokens:,} of text, {steps:,} steps), {len(clips)} clips")
    print(f"torch {torch.__version__}, {args.threads} threads, {args.repeats} repeats")
    report("step_ids", measure(lambda: step_ids(batch.tokens, batch.text_mask, splitter), args.repeats))
    report("step_entropies", measure(lambda: step_entropies(batch.entropy, ids), args.repeats))
    report("step_ids + mining", measure(lambda: mine_clips(batch, splitter, config), args.repeats))


if __name__ == "__main__":
    main()
