"""Random numbers as a function of (seed, step, purpose), so that a resumed run gets those of an uninterrupted run."""

from __future__ import annotations

import hashlib

import torch


def step_seed(seed: int, step: int, purpose: str) -> int:
    """Return a 63-bit seed; seeds of neighbouring arguments are unrelated."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def step_generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """Return a new CPU generator for one purpose in one step."""
    return torch.Generator().manual_seed(step_seed(seed, step, purpose))
