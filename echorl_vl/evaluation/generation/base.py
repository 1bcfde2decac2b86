"""The interface of a generator: requests in, responses out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from echorl_vl.evaluation.settings import Sampling
from echorl_vl.types import Problem


@dataclass(frozen=True)
class Request:
    """One response to draw. Equal seeds give equal draws, whatever else is drawn beside it."""

    problem: Problem
    seed: int


@dataclass(frozen=True)
class Response:
    """A response: its text without special tokens, its length in tokens, whether it was cut off at the limit."""

    text: str
    tokens: int
    truncated: bool


class Generator(Protocol):
    """A loaded model that draws responses.

    `batch_size` is the number of requests that it takes at once; `context` the longest prompt and response together, in
    tokens, None where there is no limit.
    """

    batch_size: int
    context: int | None

    def lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Tokens of each problem's prompt, pictures included. Raises UserError for one that has no prompt."""
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Response]:
        """One response for each request, in order. `sampling.samples` and its seed are the requests' already."""
        ...


def seed_of(seed: int, benchmark: str, uid: str, sample: int) -> int:
    """The seed of one response, 0 to 2**31 - 1: a hash, so that no two questions share a stream of random numbers."""
    digest = hashlib.sha256(f"{seed}\n{benchmark}\n{uid}\n{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
