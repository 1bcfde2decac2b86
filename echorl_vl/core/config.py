"""`EchoConfig`: the `echo:` block of a configuration, validated on construction."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from dataclasses import dataclass, field
from functools import cache
from typing import Any

_CHOICES = {
    "apply_to": ("verified", "degenerate"),
    "clip_tokens": ("prefix", "as_max"),
    "normalize_by": ("prompts", "clips"),
    "decay": ("none", "linear", "cosine"),
}
_STEPS = 10**9
_INTEGERS = {  # (minimum, maximum)
    "k": (1, 10**6),
    "min_step_tokens": (1, 2**20),
    "start_step": (0, _STEPS),
    "warmup_steps": (0, _STEPS),
    "decay_steps": (0, _STEPS),
    "seed": (0, 2**63 - 1),
}
_LARGE = 10**6
_FLAGS = ("include_truncated", "log_grad_share")


class EchoConfigError(ValueError):
    """A field of `EchoConfig` has an invalid value. The message names the key `echo.<field>` and what was expected."""

    def __init__(self, field: str, value: Any, reason: str) -> None:
        super().__init__(f"echo.{field} is {value!r}: {reason}")
        self.field = field


@dataclass(frozen=True)
class EchoConfig:
    """Options of EchoRL. Defaults follow the paper where it gives a value.

    Raises:
        EchoConfigError: a value has the wrong type or is out of range.
    """

    coef: float = 0.001
    """lambda, the weight of the echo term; 0 gives the base algorithm"""
    apply_to: str = "verified"
    """verified: every prompt with a verified rollout; degenerate: only groups whose rewards are all equal"""
    select: str = "max"
    """the step that a clip ends with. max: the step of highest entropy; topk: the k highest; softmax: sampled with
    probability softmax(entropy / tau); quantile: the step at a quantile of the entropies; lowest: the lowest entropy;
    random: a random step; first, last: the first or last step of a random rollout; path.py:name: a custom selector"""
    k: int = 1
    """clips per group with select: topk, each of weight 1/k"""
    tau: float = 1.0
    """temperature of select: softmax, in nats"""
    quantile: float = 1.0
    """quantile of select: quantile; 1 is the highest entropy, 0.5 the median, 0 the lowest"""
    clip_tokens: str = "prefix"
    """prefix: a clip is the response up to the end of its step; as_max: a clip ends with its step and has as many text
    tokens as the clip of select: max in the same group, to compare selectors at equal length"""
    min_step_tokens: int = 1
    """minimum length of a step that can be selected, in text tokens"""
    include_truncated: bool = False
    """also mine rollouts that reached the length limit"""
    verify_threshold: float = 1.0
    """minimum accuracy of a verified rollout"""
    normalize_by: str = "prompts"
    """divide the echo term by the prompts of the optimizer step, or by its clips"""
    splitter: str = "newline"
    """where a step ends: newline, blank_line, sentence, regex, step_heading, formula, window"""
    splitter_kwargs: dict[str, Any] = field(default_factory=dict)
    """options of the splitter: pattern (regex), size (window, tokens)"""
    entropy_temperature: float | None = None
    """temperature of the entropies; null: the rollout temperature"""
    start_step: int = 0
    """training steps before the echo term starts"""
    warmup_steps: int = 0
    """training steps of linear warm-up to coef"""
    decay: str = "none"
    """decay after the warm-up: none, linear or cosine"""
    decay_steps: int = 0
    """training steps of decay from coef to 0"""
    seed: int = 0
    """seed of the random selectors: softmax, random, first, last"""
    log_grad_share: bool = False
    """log echo/grad_share and the gradient norms of the echo term and of the other terms; adds one pass to the update,
    two with EasyR1"""

    @property
    def stream(self) -> str:
        """Purpose of the selector's random numbers, as an argument of `seeds.step_generator`."""
        from .selectors import find_selector

        return find_selector(self.select).stream

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            _require(name, getattr(self, name), getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        for name, (least, most) in _INTEGERS.items():
            value = getattr(self, name)
            valid = _is_int(value) and least <= value <= most
            _require(name, value, valid, f"a whole number >= {least} and <= {most:,}")
        for name in _FLAGS:
            _require(name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false")
        most = f"<= {_LARGE:,}"
        _require("coef", self.coef, _is_number(self.coef) and self.coef >= 0, f"a number >= 0 and {most}")
        _require("tau", self.tau, _is_number(self.tau) and self.tau > 0, f"a number > 0 and {most} (nats)")
        threshold = self.verify_threshold
        _require("verify_threshold", threshold, _is_number(threshold), f"a number >= -{_LARGE:,} and {most}")
        quantile = self.quantile
        _require("quantile", quantile, _is_number(quantile) and 0 <= quantile <= 1, "a number >= 0 and <= 1")
        temperature = self.entropy_temperature
        valid = temperature is None or (_is_number(temperature) and 0 < temperature <= 100)
        _require("entropy_temperature", temperature, valid, "none or a number > 0 and <= 100")
        needed = self.decay == "none" or self.decay_steps > 0
        _require("decay_steps", self.decay_steps, needed, f"a whole number > 0 with echo.decay: {self.decay}")
        self._check_select()
        self._check_splitter()

    def _check_select(self) -> None:
        _require("select", self.select, isinstance(self.select, str), "the name of a selector")
        if self.select == EchoConfig.select:
            return  # the default exists; looking up another selector imports torch, which takes seconds
        from .selectors import find_selector

        try:
            find_selector(self.select)
        except ValueError as error:
            raise EchoConfigError("select", self.select, str(error)) from None

    def _check_splitter(self) -> None:
        _require("splitter_kwargs", self.splitter_kwargs, isinstance(self.splitter_kwargs, dict), "a mapping")
        if (self.splitter, self.splitter_kwargs) == (EchoConfig.splitter, {}):
            return  # the defaults are valid, and checking them would import torch
        from .splitters import SPLITTERS, make_splitter
        from .vocabulary import TokenTable

        _require("splitter", self.splitter, self.splitter in tuple(SPLITTERS), f"one of {', '.join(SPLITTERS)}")
        try:
            make_splitter(self.splitter, TokenTable([]), **self.splitter_kwargs)
        except (ValueError, TypeError) as error:
            raise EchoConfigError("splitter_kwargs", self.splitter_kwargs, str(error)) from None


@cache
def attribute_docs(cls: type) -> dict[str, str]:
    """Return the documentation of a dataclass's fields by name: the string literals below them in the class body."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    docs = {}
    for attribute, doc in itertools.pairwise(body):
        if isinstance(attribute, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            docs[attribute.target.id] = " ".join(str(doc.value.value).split())
    return docs


def _require(name: str, value: Any, valid: bool, expected: str) -> None:
    if not valid:
        raise EchoConfigError(name, value, f"expected {expected}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGE <= value <= _LARGE
