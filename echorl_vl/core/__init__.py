"""EchoRL itself: torch and the standard library, no framework.

In the order that data flows: `splitters` and `steps` (which step is a token in), `entropy` (how certain was the
policy), `mining` (which prefix to echo), `loss` (the echo term), beside the base algorithm's `advantages` and
`policy_losses` and what other base algorithms put beside them (`off_policy_losses`, `hints`);
`groups` and `metrics` say what happened. Functions take tensors and return tensors or small frozen dataclasses; nothing
here keeps state.

A name is imported when it is first used, so that a configuration, which has an `EchoConfig`, is read without torch.

B rollouts in group order, T padded response length, S steps, C clips. Entropies are in nats.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "advantages": "ESTIMATORS group_advantages overlong_penalty rejected_rows token_advantages",
    "config": "EchoConfig",
    "entropy": "log_probs_and_entropy step_entropies token_entropy",
    "groups": "balanced_rows degenerate_groups group_index group_statistics has_positive_and_negative",
    "hints": "draw_pieces hint_probability piece_ends",
    "loss": "echo_coef echo_denominator echo_loss",
    "metric_names": "METRIC_NAMES",
    "metrics": "echo_metrics",
    "mining": "EchoClips mine_echo_clips verified_rollouts",
    "off_policy_losses": "luffy_loss nll sft_loss shaped_expert_loss srft_loss",
    "policy_losses": "KL_KINDS LOSS_TYPES PolicyLoss aggregate kl_penalty policy_loss",
    "selectors": "SELECTORS SelectorError register_selector",
    "splitters": "SPLITTERS BlankLineSplitter FormulaSplitter NewlineSplitter RegexSplitter SentenceSplitter "
    "Splitter StepHeadingSplitter WindowSplitter make_splitter",
    "steps": "step_ids",
    "vocabulary": "TokenTable",
}
"""Module -> what of it is public."""

_RENAMED = {"has_both_kinds": "has_positive_and_negative"}
"""Public name of an earlier version -> the name that it has now."""

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _RENAMED:  # not an AttributeError: `from echorl_vl.core import name` would not say what it says
        raise ImportError(f"{__name__}.{name} is called {_RENAMED[name]} now")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
