"""Random numbers as a function of (seed, step, purpose): a resumed run draws what a run never stopped would have."""

from __future__ import annotations

import hashlib

import torch


def step_seed(seed: int, step: int, purpose: str) -> int:
    """A 63-bit seed; unrelated for neighbouring seeds, steps and purposes."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def step_generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """A fresh CPU generator for one purpose in one step."""
    return torch.Generator().manual_seed(step_seed(seed, step, purpose))
