"""What a base algorithm is: keys that it sets, what it needs of an engine, and the few places where it acts.

For a step of P prompts and B rows, an engine calls

    shape_rewards    rewards before advantages
    policy_loss      loss of each token

`Algorithm` itself changes nothing there. Whatever else an algorithm does is a capability that it needs; what it has to
bring for it stands with the engine's strategy (`engines/local/strategies/`).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from echorl_vl import core

if TYPE_CHECKING:  # a configuration is read without torch
    from torch import Tensor

LARGEST = 10**6  # of any option


class Capability(Enum):
    """What an algorithm may need and an engine offer; the value follows "needs" in an error message.

    `register` adds the first two to the needs of an algorithm that overrides a method of `METHODS`.
    """

    POLICY_LOSS = "a policy loss of its own"
    SHAPED_REWARDS = "rewards of its own making"
    OFF_POLICY_ROWS = "demonstrations among the rows of a group"
    HINTS = "hints in the prompt"
    ROUNDS = "more rollouts for some prompts than for others"
    SFT_STEPS = "steps of supervised fine-tuning"
    NO_ROLLOUTS = "training without rollouts"


BRINGS = {
    Capability.HINTS: ("pieces", "coef", "keep_hint"),
    Capability.ROUNDS: ("max_rounds", "is_done", "select_rows"),
    Capability.SFT_STEPS: ("buffer",),
}
"""The options and methods that an algorithm with a need has to have; engines/local/strategies/ says what they are."""

METHODS = {"policy_loss": Capability.POLICY_LOSS, "shape_rewards": Capability.SHAPED_REWARDS}
WITH_DEMONSTRATIONS = frozenset(
    {Capability.OFF_POLICY_ROWS, Capability.HINTS, Capability.SFT_STEPS, Capability.NO_ROLLOUTS}
)


@dataclass(frozen=True)
class LossRows:
    """Rows of a micro-batch as a policy loss reads them: b rows of T tokens.

    log_probs: (b, T) of the policy now, with gradient. old_log_probs: (b, T) of the policy that sampled, meaningless in
    off-policy rows. advantages: (b, 1) or (b, T). response_mask: (b, T) bool. on_policy: (b,) bool, False for
    demonstrations. verified: (b,) bool, the answer is correct. entropy: (b, T) nats, of the policy now, without
    gradient.
    """

    log_probs: Tensor
    old_log_probs: Tensor
    advantages: Tensor
    response_mask: Tensor
    on_policy: Tensor
    verified: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Algorithm:
    """A base algorithm; its fields are `algorithm.options`. This one is GRPO, and changes nothing.

    preset: configuration keys that naming the algorithm sets; keys beside the name (in the file, or on the command
        line) win.
    needs: what it needs of an engine beside sampling n rollouts of each prompt.
    """

    name: ClassVar[str]
    preset: ClassVar[Mapping[str, Any]] = {}
    needs: ClassVar[frozenset[Capability]] = frozenset()

    ignores_returns: ClassVar[bool] = False
    """Whether the loss of on-policy rows is not made of their advantages, so that a KL in the reward does nothing."""

    @property
    def needs_demonstrations(self) -> bool:
        """Whether problems have to come with a demonstration (`data.demonstration_key`)."""
        return bool(self.needs & WITH_DEMONSTRATIONS)

    def conflict(self, rollouts: int) -> tuple[str, str] | None:
        """An option that does not go with `rollouts` of a prompt a round, and what is expected; None: all do."""
        return None

    def shape_rewards(self, rewards: Tensor, lengths: Tensor, max_tokens: int) -> Tensor:
        """(B,) rewards that advantages are made of, from the graded ones and the lengths of the responses."""
        return rewards

    def policy_loss(self, rows: LossRows, **clip: Any) -> core.PolicyLoss:
        """Loss of each token, before any mean; `clip` are the keyword arguments of `core.policy_loss`."""
        return core.policy_loss(rows.log_probs, rows.old_log_probs, rows.advantages, rows.response_mask, **clip)


ALGORITHMS: dict[str, type[Algorithm]] = {}


def register(name: str):
    """Class decorator: makes an Algorithm available as `algorithm.name`.

    Raises ValueError: the name is taken, a class with options is not a dataclass, or lacks what a need asks for.
    """

    def add(cls: type[Algorithm]) -> type[Algorithm]:
        if name in ALGORITHMS:
            raise ValueError(f"two algorithms are called {name!r}: {ALGORITHMS[name].__name__} and {cls.__name__}")
        names = [field.name for field in dataclasses.fields(cls)]
        for option, hint in vars(cls).get("__annotations__", {}).items():
            if option not in names and "ClassVar" not in str(hint):
                raise ValueError(
                    f"option {option} of the algorithm {name!r}: {cls.__name__} is not a dataclass; expected "
                    "@dataclass(frozen=True) between @register and the class"
                )
        for field in dataclasses.fields(cls):
            if not isinstance(field.default, (bool, int, float, str)):
                got = "none" if field.default is dataclasses.MISSING else repr(field.default)
                default = f"expected a switch, number or text as its default, got {got}"
                raise ValueError(f"option {field.name} of the algorithm {name!r}: {default}")
        for need in BRINGS.keys() & cls.needs:
            missing = [part for part in BRINGS[need] if part not in names and not hasattr(cls, part)]
            if missing:
                raise ValueError(f"algorithm {name!r} needs {need}, and has no {', '.join(missing)} for it")
        cls.name = name
        overridden = [method for method in METHODS if getattr(cls, method) is not getattr(Algorithm, method)]
        cls.needs |= {METHODS[method] for method in overridden}
        ALGORITHMS[name] = cls
        return cls

    return add


def make_algorithm(name: str, options: Mapping[str, Any] | None = None) -> Algorithm:
    """The algorithm with its options.

    Raises:
        ValueError: no such algorithm or option, or a value that the option does not take; names the nearest one.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"no algorithm is called {name!r}; there are {', '.join(ALGORITHMS)}")
    cls = ALGORITHMS[name]
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for option, value in (options or {}).items():
        if option not in fields:
            near = difflib.get_close_matches(option, fields, 1)
            known = f"did you mean {near[0]}?" if near else f"{name} has {', '.join(fields) or 'no options'}"
            raise ValueError(f"algorithm.options.{option}: unknown option of {name}; {known}")
        _check_type(option, value, type(fields[option].default))
    return cls(**(options or {}))


def _check_type(option: str, value: Any, kind: type) -> None:
    """Raises ValueError where the value of an option is not of the type of its default."""
    if kind in (bool, str):
        require(option, value, isinstance(value, kind), "true or false" if kind is bool else "text")
        return
    number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    words = "a whole number" if kind is int else "a finite number"
    require(option, value, number and -LARGEST <= value <= LARGEST, f"{words} of at most {LARGEST:,}")


def require(name: str, value: Any, holds: bool, expected: str) -> None:
    """Raises ValueError for an option out of range."""
    if not holds:
        raise ValueError(f"algorithm.options.{name} is {value!r}: expected {expected}")
