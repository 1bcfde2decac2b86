"""EchoRL itself: torch and the standard library, no framework.

In the order that data flows: `splitters` and `steps` (which step is a token in), `entropy` (how certain was the
policy), `mining` (which prefix to echo), `loss` (the echo term), beside the base algorithm's `advantages` and
`policy_loss`; `hints` cuts expert traces for UFT; `groups` and `metrics` say what happened. Functions take tensors and
return tensors or small frozen dataclasses; nothing here keeps state.

B rollouts in group order, T padded response length, S steps, C clips. Entropies are in nats.
"""

from .advantages import ESTIMATORS, group_advantages
from .config import EchoConfig
from .entropy import log_probs_and_entropy, step_entropies, token_entropy
from .groups import degenerate_groups, group_index, group_statistics
from .hints import draw_pieces, hint_probability, piece_ends
from .loss import echo_coef, echo_denominator, echo_loss
from .metric_names import METRIC_NAMES
from .metrics import echo_metrics
from .mining import EchoClips, mine_echo_clips, verified_rollouts
from .policy_loss import KL_KINDS, LOSS_TYPES, PolicyLoss, aggregate, kl_penalty, policy_loss
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
    "degenerate_groups",
    "draw_pieces",
    "echo_coef",
    "echo_denominator",
    "echo_loss",
    "echo_metrics",
    "group_advantages",
    "group_index",
    "group_statistics",
    "hint_probability",
    "kl_penalty",
    "log_probs_and_entropy",
    "make_splitter",
    "mine_echo_clips",
    "piece_ends",
    "policy_loss",
    "step_entropies",
    "step_ids",
    "token_entropy",
    "verified_rollouts",
]
