"""The cost of entropies in addition to log-probs: peak memory and time, with the logits of a 7B policy.

    python benchmarks/entropy_memory.py                     # 8,192 packed tokens, vocabulary 151,936, bfloat16 logits

Each measurement runs in a separate process, which creates the logits and then computes:

    logits      nothing
    host        log-probs as in EasyR1 without flash-attn: cross entropy of the logits in float32
    host+echo   the same, and the entropies by `core.token_entropy` in chunks of the adapter's size
    echo        only the entropies: the added memory if log-probs need none (flash-attn's kernel)

The peak is that of the allocator on a GPU, and that of the process on a CPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from echorl_vl.core import token_entropy

ENTROPY_CHUNK = 1 << 22  # echorl_vl.engines.easyr1.actor.ENTROPY_CHUNK, which can't be imported without EasyR1
KINDS = ("logits", "host", "host+echo", "echo")


def measure(kind: str, tokens: int, vocabulary: int, device: str, repeats: int) -> dict[str, float]:
    """Measure peak bytes and median seconds of one kind, in this process."""
    generator = torch.Generator(device).manual_seed(0)
    logits = torch.empty(tokens, vocabulary, dtype=torch.bfloat16, device=device).normal_(generator=generator)
    labels = torch.randint(0, vocabulary, (tokens,), device=device, generator=generator)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        if "host" in kind:
            -F.cross_entropy(logits.float(), labels, reduction="none")
        if "echo" in kind:
            token_entropy(logits, 1.0, max(1, ENTROPY_CHUNK // vocabulary))
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    on_cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else on_cpu
    return {"peak": float(peak), "seconds": statistics.median(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        found = measure(options.kind, options.tokens, options.vocabulary, options.device, options.repeats)
        print(json.dumps(found))
        return
    found = {}
    for kind in KINDS:
        process = subprocess.run(
            [sys.executable, *sys.argv, "--kind", kind], capture_output=True, text=True, check=True
        )
        found[kind] = json.loads(process.stdout.splitlines()[-1])
        print(f"{kind:10} peak {found[kind]['peak'] / 2**30:6.2f} GiB, {found[kind]['seconds']:.3f} s")
    size = options.tokens * options.vocabulary * 2
    print(f"logits: {size / 2**30:.2f} GiB of bfloat16 on {options.device}")
    print(f"peak with entropies / without: {found['host+echo']['peak'] / found['host']['peak']:.3f}")
    alone = found["echo"]["peak"] - found["logits"]["peak"]
    print(f"entropies alone add {alone / 2**20:.0f} MiB, {alone / size:.1%} of the logits")


if __name__ == "__main__":
    main()
