"""EchoRL itself: torch and the standard library, no framework.

In the order that data flows: `splitters` and `steps` (which step is a token in), `entropy` (how certain was the
policy), `mining` (which prefix to echo), `loss` (the echo term), beside the base algorithm's `advantages` and
`policy_loss` and what other base algorithms put beside them (`expert_loss`, `hints`, `overlong`, `selection`); `groups`
and `metrics` say what happened. Functions take tensors and return tensors or small frozen dataclasses; nothing here
keeps state.

B rollouts in group order, T padded response length, S steps, C clips. Entropies are in nats.
"""

from .advantages import ESTIMATORS, group_advantages, token_advantages
from .config import EchoConfig
from .entropy import log_probs_and_entropy, step_entropies, token_entropy
from .expert_loss import luffy_loss, nll, sft_loss, shaped_expert_loss, srft_loss
from .groups import degenerate_groups, group_index, group_statistics
from .hints import draw_pieces, hint_probability, piece_ends
from .loss import echo_coef, echo_denominator, echo_loss
from .metric_names import METRIC_NAMES
from .metrics import echo_metrics
from .mining import EchoClips, mine_echo_clips, verified_rollouts
from .overlong import overlong_penalty
from .policy_loss import KL_KINDS, LOSS_TYPES, PolicyLoss, aggregate, kl_penalty, policy_loss
from .selection import balanced_rows, has_positive_and_negative
from .selectors import SELECTORS, register_selector
from .splitters import (
    SPLITTERS,
    BlankLineSplitter,
    FormulaSplitter,
    NewlineSplitter,
    RegexSplitter,
    SentenceSplitter,
    Splitter,
    StepHeadingSplitter,
    WindowSplitter,
    make_splitter,
)
from .steps import step_ids
from .vocabulary import TokenTable

__all__ = [
    "ESTIMATORS",
    "KL_KINDS",
    "LOSS_TYPES",
    "METRIC_NAMES",
    "SELECTORS",
    "SPLITTERS",
    "BlankLineSplitter",
    "EchoClips",
    "EchoConfig",
    "FormulaSplitter",
    "NewlineSplitter",
    "PolicyLoss",
    "RegexSplitter",
    "SentenceSplitter",
    "Splitter",
    "StepHeadingSplitter",
    "TokenTable",
    "WindowSplitter",
    "aggregate",
    "balanced_rows",
    "degenerate_groups",
    "draw_pieces",
    "echo_coef",
    "echo_denominator",
    "echo_loss",
    "echo_metrics",
    "group_advantages",
    "group_index",
    "group_statistics",
    "has_positive_and_negative",
    "hint_probability",
    "kl_penalty",
    "log_probs_and_entropy",
    "luffy_loss",
    "make_splitter",
    "mine_echo_clips",
    "nll",
    "overlong_penalty",
    "piece_ends",
    "policy_loss",
    "register_selector",
    "sft_loss",
    "shaped_expert_loss",
    "srft_loss",
    "step_entropies",
    "step_ids",
    "token_advantages",
    "token_entropy",
    "verified_rollouts",
]
