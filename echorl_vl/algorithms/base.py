"""`Algorithm`: the configuration keys that a base algorithm sets, the capabilities it needs, and its hooks.

For a step of P prompts and B rows, an engine calls two hooks:

    shape_rewards    changes rewards before advantages are computed
    policy_loss      computes the loss of each token

The class `Algorithm` implements GRPO. Everything else that an algorithm does requires a capability of the engine; the
engine's strategies (`engines/local/strategies/`) document the options and methods that they call.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from echorl_vl import core

if TYPE_CHECKING:  # reading a configuration does not import torch
    from torch import Tensor

LARGEST = 10**6  # maximum of every option


class Capability(Enum):
    """A feature that an algorithm may need and an engine may offer. Error messages show the values after "needs".

    `register` adds the first two to the needs of an algorithm that overrides the corresponding method (`METHODS`).
    """

    POLICY_LOSS = "a custom policy loss"
    SHAPED_REWARDS = "shaped rewards"
    OFF_POLICY_ROWS = "demonstrations among the rows of a group"
    HINTS = "hints in the prompt"
    ROUNDS = "a different number of rollouts for each prompt"
    SFT_STEPS = "steps of supervised fine-tuning"
    NO_ROLLOUTS = "training without rollouts"


REQUIRED_MEMBERS = {
    Capability.HINTS: ("pieces", "coef", "keep_hint"),
    Capability.ROUNDS: ("max_rounds", "is_done", "select_rows"),
    Capability.SFT_STEPS: ("buffer",),
}
"""Options and methods that a capability requires of an algorithm; see engines/local/strategies/."""

METHODS = {"policy_loss": Capability.POLICY_LOSS, "shape_rewards": Capability.SHAPED_REWARDS}
"""The capability that overriding a method requires."""

WITH_DEMONSTRATIONS = frozenset(
    {Capability.OFF_POLICY_ROWS, Capability.HINTS, Capability.SFT_STEPS, Capability.NO_ROLLOUTS}
)


@dataclass(frozen=True)
class LossRows:
    """Input of a policy loss: b rows of T tokens of a micro-batch.

    Attributes:
        log_probs: (b, T) log-probs of the current policy, with gradient.
        old_log_probs: (b, T) log-probs of the policy that sampled; undefined in off-policy rows.
        advantages: (b, 1) or (b, T).
        response_mask: (b, T) bool.
        on_policy: (b,) bool, False for demonstrations.
        verified: (b,) bool, the answer is correct.
        entropy: (b, T) nats, entropy of the current policy, without gradient.
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
    """Base class of algorithms, which implements GRPO. The fields of a subclass are `algorithm.options`.

    Attributes:
        name: value of `algorithm.name`, set by `register`.
        preset: values that `algorithm.name` sets for other configuration keys. A key given in the same place as the
            name (the file or the command line) overrides its preset.
        needs: capabilities that the algorithm needs, in addition to sampling n rollouts of each prompt.
        ignores_returns: the loss of on-policy rows does not depend on their advantages, so a KL in the reward has no
            effect.
    """

    name: ClassVar[str]
    preset: ClassVar[Mapping[str, Any]] = {}
    needs: ClassVar[frozenset[Capability]] = frozenset()
    ignores_returns: ClassVar[bool] = False

    @property
    def needs_demonstrations(self) -> bool:
        """Whether each problem needs a demonstration (`data.demonstration_key`)."""
        return bool(self.needs & WITH_DEMONSTRATIONS)

    def conflict(self, rollouts: int) -> tuple[str, str] | None:
        """Check the options against the rollouts per prompt and round.

        Returns:
            The name of an invalid option and its expected value, or None if all options are valid.
        """
        return None

    def shape_rewards(self, rewards: Tensor, lengths: Tensor, max_tokens: int) -> Tensor:
        """Compute the rewards (B,) used for advantages from graded rewards (B,) and response lengths (B,)."""
        return rewards

    def policy_loss(self, rows: LossRows, **clip: Any) -> core.PolicyLoss:
        """Compute the loss of each token; `clip` are the keyword arguments of `core.policy_loss`."""
        return core.policy_loss(rows.log_probs, rows.old_log_probs, rows.advantages, rows.response_mask, **clip)


ALGORITHMS: dict[str, type[Algorithm]] = {}


def register(name: str):
    """Class decorator that registers an `Algorithm` as `algorithm.name: name`.

    Raises:
        ValueError: another algorithm has this name, a class with options is not a dataclass, an option has no valid
            default, or the class lacks a member of `REQUIRED_MEMBERS`.
    """

    def add(cls: type[Algorithm]) -> type[Algorithm]:
        if name in ALGORITHMS:
            raise ValueError(f"two algorithms are named {name!r}: {ALGORITHMS[name].__name__} and {cls.__name__}")
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
                default = f"expected a bool, number or string as its default, got {got}"
                raise ValueError(f"option {field.name} of the algorithm {name!r}: {default}")
        for need in REQUIRED_MEMBERS.keys() & cls.needs:
            missing = [member for member in REQUIRED_MEMBERS[need] if member not in names and not hasattr(cls, member)]
            if missing:
                raise ValueError(f"algorithm {name!r} needs {need}, which requires {', '.join(missing)}")
        cls.name = name
        overridden = [method for method in METHODS if getattr(cls, method) is not getattr(Algorithm, method)]
        cls.needs |= {METHODS[method] for method in overridden}
        ALGORITHMS[name] = cls
        return cls

    return add


def make_algorithm(name: str, options: Mapping[str, Any] | None = None) -> Algorithm:
    """Create an algorithm.

    Args:
        name: a key of `ALGORITHMS`.
        options: values of `algorithm.options`; other options have their defaults.

    Raises:
        ValueError: the algorithm or an option is unknown, or the value of an option is invalid.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"expected an algorithm ({', '.join(ALGORITHMS)}), got {name!r}")
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
    """Raise ValueError if the value of an option does not have the type of its default."""
    if kind in (bool, str):
        require(option, value, isinstance(value, kind), "true or false" if kind is bool else "text")
        return
    number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    words = "a whole number" if kind is int else "a finite number"
    require(option, value, number and -LARGEST <= value <= LARGEST, f"{words} of at most {LARGEST:,}")


def require(name: str, value: Any, valid: bool, expected: str) -> None:
    """Raise ValueError for an option whose value is not valid."""
    if not valid:
        raise ValueError(f"algorithm.options.{name} is {value!r}: expected {expected}")
