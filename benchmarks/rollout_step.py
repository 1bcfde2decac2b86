"""The time of rollouts and of an update, with images of two sizes, on a CPU.

    python benchmarks/rollout_step.py [--threads 2] [--repeats 3] [--padded]

8 prompts x 8 rollouts x 64 tokens (end tokens are ignored), with a Qwen2.5-VL of about 2M parameters, random weights,
float32. `update` is one optimizer step over the 64 rows in micro-batches of `--micro` rows: forward, backward, gradient
clipping, AdamW.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "local"))

from tiny_models import prompt, vl_policy

from echorl_vl.engines.local.allocator import keep_freed_memory
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams

PROMPTS, PER_PROMPT, TOKENS = 8, 8, 64


def measure(policy, optimizer, edge: int, micro: int, packed: bool, repeats: int) -> tuple[float, float]:
    """Measure the median seconds of rollout and update with images of edge x edge pixels."""
    patches = edge // 14
    prompts = [prompt("What is the length of side AB?", (patches, patches), seed=i) for i in range(PROMPTS)]
    params = SamplingParams(n=PER_PROMPT, temperature=1.0, max_tokens=TOKENS, ignore_eos=True)
    rollout, update = [], []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        batch = generate(policy, prompts, params, torch.Generator().manual_seed(repeat))
        middle = time.perf_counter()
        for first in range(0, len(batch.tokens), micro):
            log_probs, _ = policy.response_log_probs(batch, range(first, first + micro), 1.0, packed=packed)
            (-log_probs.sum() / batch.response_mask.sum()).backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        end = time.perf_counter()
        rollout.append(middle - start)
        update.append(end - middle)
    return median(rollout[1:]), median(update[1:])  # without the warm-up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--micro", type=int, default=32, help="rows per micro-batch")
    parser.add_argument("--padded", action="store_true", help="one padded row per rollout instead of packing")
    parser.add_argument("--give-back", action="store_true", help="don't change the settings of glibc's malloc")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.give_back:
        keep_freed_memory()
    policy = vl_policy(hidden=160, layers=4, vision=128, intermediate=512, depth=4, spread=0.05)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-6)
    size = sum(p.numel() for p in policy.model.parameters()) / 1e6
    print(f"{size:.2f}M parameters, {options.threads} threads, {PROMPTS} x {PER_PROMPT} x {TOKENS} tokens")
    for edge in (112, 448):
        rollout, update = measure(policy, optimizer, edge, options.micro, not options.padded, options.repeats)
        print(f"{edge} x {edge}: rollout {rollout:.2f} s, update {update:.2f} s, step {rollout + update:.2f} s")


if __name__ == "__main__":
    main()
