"""What a base algorithm is: keys that it sets, what it asks of an engine, and the few places where it acts.

An engine calls the methods in this order, for a step of P prompts and B rows:

    keep_hint        how much of the expert's solution stands in the prompt             UFT
    settled          which prompts have been sampled enough                             Reinforce-Ada
    shape_rewards    rewards before advantages                                          DAPO
    select_rows        rows that go into the update, once advantages are worked out       Reinforce-Ada
    policy_loss      loss of each token                                                 LUFFY, SRFT, SFT

`Algorithm` itself does nothing of it: it is GRPO.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # a configuration is read without torch
    import torch
    from torch import Tensor

    from echorl_vl.core import PolicyLoss

LARGEST = 10**6  # of any option


class Capability(Enum):
    """What an algorithm may need and an engine offer; the value follows "needs" in an error message."""

    OFF_POLICY_ROWS = "demonstrations among the rows of a group"
    HINTS = "hints in the prompt"
    ROUNDS = "more rollouts for some prompts than for others"
    SFT_STEPS = "steps of supervised fine-tuning"
    NO_ROLLOUTS = "training without rollouts"


@dataclass(frozen=True)
class LossRows:
    """Rows of a micro-batch as a policy loss reads them: b rows of T tokens.

    log_probs: (b, T) of the policy now, with gradient. old_log_probs: (b, T) of the policy that sampled, meaningless in
    expert rows. advantages: (b, 1) or (b, T). response_mask: (b, T) bool. on_policy: (b,) bool, False for rows that an
    expert wrote. verified: (b,) bool, the answer is right. entropy: (b, T) nats, of the policy now, without gradient.
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
    needs: what it needs of an engine.
    """

    name: ClassVar[str]
    preset: ClassVar[Mapping[str, Any]] = {}
    needs: ClassVar[frozenset[Capability]] = frozenset()

    ignores_returns: ClassVar[bool] = False
    """Whether the loss of own rows is not made of their advantages, so that a KL in the reward does nothing to them."""

    @property
    def needs_demonstrations(self) -> bool:
        """Whether problems have to come with an expert's solution (`data.demonstration_key`)."""
        return bool(self.needs - {Capability.ROUNDS})

    @property
    def rounds(self) -> int:
        """Most rounds of sampling for one prompt."""
        return 1

    @property
    def hint_pieces(self) -> int:
        """Most pieces that a solution is cut in for hints."""
        return 0

    @property
    def hint_coef(self) -> float:
        """Weight in the loss of the mean NLL of hint tokens."""
        return 0.0

    @property
    def sft_prompts(self) -> int:
        """Prompts without a right rollout that make a step of supervised fine-tuning; 0: there are no such steps."""
        return 0

    def keep_hint(self, step: int, total_steps: int, pieces: Tensor, generator: torch.Generator) -> Tensor:
        """(P,) pieces of each prompt's solution, of (P,) `pieces`, that stand in its prompt at `step` (1 the first)."""
        return pieces * 0

    def conflict(self, rollouts: int) -> tuple[str, str] | None:
        """An option that does not go with `rollouts` of a prompt a round, and what is wanted; None: all do."""
        return None

    def is_done(self, correct: Tensor, group_ids: Tensor) -> Tensor:
        """(P,) bool: prompts that need no further round, from their rollouts so far (B,)."""
        import torch

        return torch.ones(len(group_ids.unique()), dtype=torch.bool, device=group_ids.device)

    def shape_rewards(self, rewards: Tensor, lengths: Tensor, max_tokens: int) -> Tensor:
        """(B,) rewards that advantages are made of, from the graded ones and the lengths of the responses."""
        return rewards

    def select_rows(self, correct: Tensor, group_ids: Tensor) -> Tensor | None:
        """(B,) bool rows that go into the update; None for all."""
        return None

    def policy_loss(self, rows: LossRows, **clip: Any) -> PolicyLoss:
        """Loss of each token, before any mean; `clip` are the keyword arguments of `core.policy_loss`."""
        from echorl_vl.core import policy_loss

        return policy_loss(rows.log_probs, rows.old_log_probs, rows.advantages, rows.response_mask, **clip)


ALGORITHMS: dict[str, type[Algorithm]] = {}


def register(name: str):
    """Class decorator: makes an Algorithm available as `algorithm.name`."""

    def add(cls: type[Algorithm]) -> type[Algorithm]:
        if name in ALGORITHMS:
            raise ValueError(f"two algorithms are called {name!r}: {ALGORITHMS[name].__name__} and {cls.__name__}")
        cls.name = name
        ALGORITHMS[name] = cls
        return cls

    return add


def make_algorithm(name: str, options: Mapping[str, Any] | None = None) -> Algorithm:
    """The algorithm with its options.

    Raises:
        ValueError: no such algorithm or option, or a value that the option does not take; names the nearest right one.
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
        wanted = int if isinstance(fields[option].default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted) or not -LARGEST <= value <= LARGEST:
            kind = "a whole number" if wanted is int else "a finite number"
            raise ValueError(f"algorithm.options.{option} is {value!r}: wanted {kind} of at most {LARGEST:,}")
    return cls(**(options or {}))


def require(name: str, value: float, holds: bool, wanted: str) -> None:
    """Raises ValueError for an option out of range."""
    if not holds:
        raise ValueError(f"algorithm.options.{name} is {value!r}: wanted {wanted}")
