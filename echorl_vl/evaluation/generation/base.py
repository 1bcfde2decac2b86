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
    """A response to sample. Equal seeds give equal responses, independent of the other requests."""

    problem: Problem
    seed: int


@dataclass(frozen=True)
class Response:
    """A response: text without special tokens, length in tokens, whether it reached the length limit."""

    text: str
    tokens: int
    truncated: bool


class Generator(Protocol):
    """A loaded model that samples responses.

    Attributes:
        batch_size: maximum number of requests per call.
        context: maximum length of prompt and response together, in tokens; None for no limit.
    """

    batch_size: int
    context: int | None

    def lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Return the length of each prompt in tokens, with images. Raises UserError for an invalid problem."""
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Response]:
        """Return one response per request, in order; ignores `sampling.samples` and `sampling.seed`."""
        ...


def seed_of(seed: int, benchmark: str, uid: str, sample: int) -> int:
    """Return the seed of one response, 0 to 2**31 - 1: a hash, so that questions have independent random numbers."""
    digest = hashlib.sha256(f"{seed}\n{benchmark}\n{uid}\n{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
