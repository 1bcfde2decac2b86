"""Measures seconds per phase of a step, tokens per second, and peak memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from echorl_vl.types import RolloutBatch


class PhaseTimer:
    """Adds up the seconds of named phases. On a GPU a phase ends with a synchronization.

    Args:
        device: device of the policy.
        announce: called with the name of each phase at its start.
    """

    def __init__(self, device: torch.device, announce: Callable[[str], None]) -> None:
        self._cuda = device.type == "cuda"
        self._announce = announce
        self._started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a phase."""
        self._announce(name)
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._cuda:
                torch.cuda.synchronize()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.3f} s" for name, seconds in self.seconds.items())

    def metrics(self, rollouts: RolloutBatch) -> dict[str, float]:
        """The metrics `timing_s/*` (seconds) and `perf/*`. The prompt counts for each rollout in `total_num_tokens`."""
        step = time.perf_counter() - self._started
        prompts = torch.tensor([len(prompt.input_ids) for prompt in rollouts.prompts])[rollouts.group_ids.cpu()]
        tokens = int(rollouts.response_mask.sum()) + int(prompts.sum())
        return {f"timing_s/{name}": value for name, value in self.seconds.items()} | {
            "timing_s/step": step,
            "perf/total_num_tokens": float(tokens),
            "perf/time_per_step": step,
            "perf/throughput": tokens / step,
            "perf/max_memory_gb": self._peak_memory(),
        }

    def _peak_memory(self) -> float:
        """Peak GB of the GPU, or of the process on a CPU, since the process started."""
        if self._cuda:
            return torch.cuda.max_memory_allocated() / 1e9
        try:
            import resource
        except ImportError:  # Windows
            return float("nan")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
