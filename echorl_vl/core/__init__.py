"""EchoRL on torch and the standard library alone.

The modules, in the order of the data flow:

- `splitters`, `steps`: the reasoning step of each token
- `entropy`: log-probs and entropies of tokens, mean entropies of steps
- `selectors`, `mining`: the prefixes to echo (EchoClips)
- `loss`: the echo term
- `advantages`, `policy_losses`: the base algorithm
- `off_policy_losses`, `hints`: base algorithms that learn from demonstrations
- `groups`, `metrics`: statistics of a training step

Functions take tensors and return tensors or small frozen dataclasses. They keep no state between calls.

Each name is imported on first use, so that reading a configuration (`EchoConfig`) does not import torch.

Shapes: B rollouts in group order, T padded response length, S steps, C clips, P groups (prompts), V vocabulary size.
Entropies are in nats.
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
    "off_policy_losses": "luffy_loss nll sft_loss shaped_off_policy_loss srft_loss",
    "policy_losses": "KL_KINDS LOSS_TYPES PolicyLoss aggregate kl_penalty policy_loss",
    "selectors": "SELECTORS SelectorError register_selector",
    "splitters": "SPLITTERS BlankLineSplitter FormulaSplitter NewlineSplitter RegexSplitter SentenceSplitter "
    "Splitter StepHeadingSplitter WindowSplitter make_splitter",
    "steps": "step_ids",
    "vocabulary": "TokenTable",
}
"""Public names by module."""

_RENAMED = {
    "has_both_kinds": "has_positive_and_negative",
    "shaped_expert_loss": "shaped_off_policy_loss",
}
"""New names of renamed public functions, by old name."""

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _RENAMED:  # an ImportError, because `from ... import` discards the message of an AttributeError
        raise ImportError(f"{__name__}.{name} has been renamed to {_RENAMED[name]}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
