"""Checks that the local engine computes the same logits as transformers, before any training."""

from __future__ import annotations

import torch

from echorl_vl.config import Config
from echorl_vl.engines.local.attention import WORKING
from echorl_vl.engines.local.packing import PackedRows
from echorl_vl.errors import UserError

PROBE = 8  # tokens of the row that shows whether rotary factors depend on the length


@torch.no_grad()
def check_architecture(policy) -> None:
    """Compares the packed forward pass with the model's own on a few tokens.

    This finds attention windows, logit caps and scalings that the packed pass does not implement.

    Raises:
        UserError: the logits differ or are not finite, or the model needs an attention option that we don't support.
    """
    ids = _tokens(policy, 11)
    prompt, response = ids[:6], ids[6:]
    layout = PackedRows(torch.tensor([6]), torch.tensor([0, 0]), torch.tensor([5, 5]), policy.device)
    axes = policy.family.position_axes
    positions = layout.positions([torch.arange(6).expand(axes, -1)], torch.tensor([6]))
    row = torch.cat([prompt, response[:-1], response[:-1]])
    with policy.autocast():
        hidden = policy.run_decoder(policy.network.get_input_embeddings()(row), positions, layout)
        packed = policy.head(hidden[layout.predictors()]).float()
        plain = policy.network(input_ids=ids[None, :-1]).logits[0, 5:].float().repeat(2, 1)
    if not torch.isfinite(plain).all():
        raise UserError(
            f"{policy.config._name_or_path}: the logits of {type(policy.network).__name__} are not finite; its weights "
            "or its config.json are damaged"
        )
    half = policy.compute_dtype != torch.float32 or policy.head.weight.dtype != torch.float32
    tolerance = (float(plain.std()) + 1e-6) * (0.1 if half else 1e-3)
    if not torch.allclose(packed, plain, rtol=0, atol=tolerance):
        raise UserError(
            f"the local engine does not support {type(policy.network).__name__}: its logits differ from those of "
            f"transformers by {float((packed - plain).abs().max()):.2g}; {WORKING}"
        )


def check_window(policy, config: Config, added_tokens: int = 0) -> None:
    """Checks that the longest possible row fits the attention window and keeps the rotary factors unchanged.

    Args:
        policy: the policy.
        config: the run's configuration.
        added_tokens: tokens that the rollout strategy may add to a prompt.

    Raises:
        UserError: the row could exceed the window, or the length above which rotary factors change.
    """
    layers = [
        module for module in policy.decoder.modules() if hasattr(module, "layer_idx") and hasattr(module, "config")
    ]
    # A layer has its own window (None: full attention), or takes the one of the model's configuration.
    windows = [getattr(layer, "sliding_window", getattr(layer.config, "sliding_window", None)) for layer in layers]
    window = min((size for size in windows if size is not None), default=None)
    longest = config.data.max_prompt_length + added_tokens + config.data.max_response_length
    if window is not None and longest > window:
        raise UserError(
            f"data.max_prompt_length + data.max_response_length = {longest} tokens: "
            f"{type(policy.network).__name__} attends to the last {window} tokens only, which the local engine does "
            f"not support; expected at most {window}"
        )
    if _depends_on_length(policy, longest):
        known, other = PROBE, longest
        while other - known > 1:
            middle = (known + other) // 2
            known, other = (known, middle) if _depends_on_length(policy, middle) else (middle, other)
        rope = getattr(policy.decoder.config, "rope_parameters", None) or {}
        kind = type(policy.network).__name__
        raise UserError(
            f"data.max_prompt_length + data.max_response_length = {longest} tokens: {kind} has rotary factors "
            f"({rope.get('rope_type', 'custom')}) that change for a whole batch once one of its rows has more than "
            f"{known} tokens, so rollout and update would use two different models; expected at most {known}"
        )


@torch.no_grad()
def _depends_on_length(policy, length: int) -> bool:
    """Whether the hidden states of a row's first tokens change if its last token has position `length` - 1.

    Attention is causal, so only rotary factors that are chosen by the largest position can change them.
    """
    if length <= PROBE:
        return False
    ids = _tokens(policy, PROBE)
    layout = PackedRows(torch.tensor([PROBE]), torch.tensor([0]), torch.tensor([1]), policy.device)
    states = []
    for last in (PROBE - 1, length - 1):  # in this order: dynamic factors grow, and a short row resets them
        positions = torch.arange(PROBE)
        positions[-1] = last
        with policy.autocast():
            embedded = policy.network.get_input_embeddings()(ids)
            states.append(policy.run_decoder(embedded, positions.expand(policy.family.position_axes, -1), layout))
    short, long = (state[:-1].float() for state in states)
    return not torch.allclose(short, long, rtol=0, atol=1e-6 * float(short.abs().max()))


def _tokens(policy, count: int) -> torch.Tensor:
    """(count,) ids of tokens that are not visual."""
    allowed = torch.tensor([i for i in range(min(policy.vocab_size, 200)) if i not in policy.visual.ids])
    return allowed[torch.arange(count) * 7 % len(allowed)].to(policy.device)
