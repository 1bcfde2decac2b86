"""`EchoConfig`: the `echo:` block of a configuration, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_CHOICES = {
    "apply_to": ("verified", "degenerate"),
    "clip_tokens": ("prefix", "as_max"),
    "normalize_by": ("prompts", "clips"),
    "decay": ("none", "linear", "cosine"),
}
_STEPS = 10**9
_WHOLE = {  # (least, most)
    "k": (1, 10**6),
    "min_step_tokens": (1, 2**20),
    "start_step": (0, _STEPS),
    "warmup_steps": (0, _STEPS),
    "decay_steps": (0, _STEPS),
    "seed": (0, 2**63 - 1),
}
_LARGE = 10**6
_FLAGS = ("include_truncated", "log_grad_share")


class WrongOption(ValueError):
    """`field` of an `EchoConfig` can't be what it is; the message names it as `echo.<field>`, and what was expected."""

    def __init__(self, field: str, value: Any, why: str) -> None:
        super().__init__(f"echo.{field} is {value!r}: {why}")
        self.field = field


@dataclass(frozen=True)
class EchoConfig:
    """Every switch of EchoRL. Defaults are the paper's where it fixes them.

    Raises:
        WrongOption: a value out of range.
    """

    coef: float = 0.001
    """lambda, the weight of the echo term; 0 is the base algorithm"""
    apply_to: str = "verified"
    """verified: every prompt with a verified rollout; degenerate: only groups whose rewards are all equal"""
    select: str = "max"
    """which step of a group its clip ends with. max: the one of highest entropy; topk: the k highest; softmax: sampled
    with probability softmax(entropy / tau); quantile: at a quantile of the entropies; lowest: of lowest entropy;
    random: any; first, last: of a random rollout; path.py:name: a selector of your own"""
    k: int = 1
    """clips per group for select: topk, each of weight 1/k"""
    tau: float = 1.0
    """temperature of select: softmax, nats"""
    quantile: float = 1.0
    """for select: quantile, 1 the highest, 0.5 the median, 0 the lowest"""
    clip_tokens: str = "prefix"
    """prefix: a clip is the response up to its step's end; as_max: as many text tokens that end with the step as the
    clip of select: max has in that group, to compare selectors at equal lengths"""
    min_step_tokens: int = 1
    """shorter steps can't be chosen"""
    include_truncated: bool = False
    """rollouts that hit the length limit may be mined"""
    verify_threshold: float = 1.0
    """a rollout is verified when its accuracy is at least this"""
    normalize_by: str = "prompts"
    """the echo term is divided by the prompts of the optimizer step, or by its clips"""
    splitter: str = "newline"
    """where a step ends: newline, blank_line, sentence, regex, step_heading, formula, window"""
    splitter_kwargs: dict[str, Any] = field(default_factory=dict)
    """options of the splitter: pattern (regex), size (window, tokens)"""
    entropy_temperature: float | None = None
    """temperature of the entropies; none: the rollout temperature"""
    start_step: int = 0
    """training steps before the echo term begins"""
    warmup_steps: int = 0
    """steps of linear rise to coef"""
    decay: str = "none"
    """none, linear or cosine, after the warm-up"""
    decay_steps: int = 0
    """steps over which the decay goes to 0"""
    seed: int = 0
    """of selectors that draw: softmax, random, first, last"""
    log_grad_share: bool = False
    """log echo/grad_share and the gradient norms of the echo term and of the rest; costs one more pass of
    the update, two with EasyR1"""

    @property
    def stream(self) -> str:
        """Name of the random numbers that the selector draws from, for `seeds.step_generator`."""
        from .selectors import find_selector

        return find_selector(self.select).stream

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            _require(name, getattr(self, name), getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            held = _is_int(value) and least <= value <= most
            _require(name, value, held, f"a whole number >= {least} and <= {most:,}")
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
            return  # it is there; to look for another one imports torch, which takes seconds
        from .selectors import find_selector

        try:
            find_selector(self.select)
        except ValueError as error:
            raise WrongOption("select", self.select, str(error)) from None

    def _check_splitter(self) -> None:
        _require("splitter_kwargs", self.splitter_kwargs, isinstance(self.splitter_kwargs, dict), "a mapping")
        if (self.splitter, self.splitter_kwargs) == (EchoConfig.splitter, {}):
            return  # they fit, and need no torch either
        from .splitters import SPLITTERS, make_splitter
        from .vocabulary import TokenTable

        _require("splitter", self.splitter, self.splitter in tuple(SPLITTERS), f"one of {', '.join(SPLITTERS)}")
        try:
            make_splitter(self.splitter, TokenTable([]), **self.splitter_kwargs)
        except (ValueError, TypeError) as error:
            raise WrongOption("splitter_kwargs", self.splitter_kwargs, str(error)) from None


def _require(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise WrongOption(name, value, f"expected {expected}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGE <= value <= _LARGE
