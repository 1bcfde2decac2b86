"""Attention in which the rollouts of a group share their prompt.

Every forward pass of the local engine processes one unpadded row of tokens, shape (1, N). Linear and elementwise layers
need no change; only attention has to know which tokens may attend to which. `shared_prefix_attention` is registered
with transformers under the name `SHARED_PREFIX`, and the forward call passes a layout object to it as the keyword
`shared_prefix`. Without that keyword (`model.generate`, another library) it is plain sdpa.

A layout has two members:

- `span`: the most tokens that one of its tokens attends to;
- `attend(layer, query, key, value, scaling)`: query (1, heads, N, d), key and value (1, kv_heads, N, d), after the
  rotary embedding -> (1, N, heads, d).

Layouts are `packing.PackedRows` (update), `kv_cache.PromptCache` (prefill) and `kv_cache.ResponseCache` (decode).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from echorl_vl.errors import UserError

SHARED_PREFIX = "echorl_shared_prefix"
WORKING = "expected plain causal attention, as in Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen2.5 and Llama"


def shared_prefix_attention(module, query, key, value, attention_mask, scaling=None, shared_prefix=None, **kwargs):
    """The attention function that the layers of transformers call (see the module docstring)."""
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    window = kwargs.pop("sliding_window", None)
    if window is not None and shared_prefix.span > window:
        raise UserError(
            f"a prompt and its response have {shared_prefix.span} tokens, and {type(module).__name__} attends to the "
            f"last {window} only, which the local engine does not support; shorten data.max_prompt_length or "
            "data.max_response_length"
        )
    for option in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(option) is not None:
            raise UserError(
                f"the local engine does not support {option}, which {type(module).__name__} needs; {WORKING}"
            )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_prefix.attend(module.layer_idx, query, key, value, scaling), None


ALL_ATTENTION_FUNCTIONS.register(SHARED_PREFIX, shared_prefix_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(SHARED_PREFIX, sdpa_mask)


def skip_mask(device: torch.device) -> Tensor:
    """A 4-D mask that keeps transformers from building one. The layouts ignore it."""
    return torch.zeros(1, 1, 1, 1, device=device)


def attend_padded(query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Tensor | None) -> Tensor:
    """sdpa over (rows, heads, length, d). Causal if `mask` is None; key and value may have fewer heads than query."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling)


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """x[index] of (N, ...) rows, repeated rows included, with a deterministic gradient.

    The backward pass of `x[index]` on a CPU and that of `index_select` on a GPU add up repeated rows in any order. The
    one of an embedding has a fixed order on both, and is as fast.
    """
    return embedding(index, x.flatten(1)).unflatten(1, x.shape[1:])


class _Pad(torch.autograd.Function):
    """x[index], where `inverse` holds the new place of each row of x.

    Padding gets no gradient, so the backward pass is a gather too.
    """

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class _Unpad(torch.autograd.Function):
    """x[index] with distinct indices; rows that are not taken get gradient 0."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        return grad.new_zeros(ctx.rows, *grad.shape[1:]).index_copy_(0, index, grad), None


class Ragged:
    """Converts between one long row (N, ...) and padded rows of different lengths (rows, longest, ...).

    Padding is on the right and holds copies of a real token, so that it contains no NaN. Under a causal mask no token
    attends to it, and `flatten` drops it.
    """

    def __init__(self, lengths: Tensor, device: torch.device) -> None:
        self.rows, self.longest, self.total = len(lengths), int(lengths.max()), int(lengths.sum())
        self.even = self.total == self.rows * self.longest
        if not self.even:
            starts = lengths.cumsum(0) - lengths
            column = torch.arange(self.longest)
            inside = column < lengths[:, None]
            first = int((lengths > 0).nonzero()[0, 0])
            index = torch.where(inside, starts[:, None] + column, starts[first])
            self.pad_index = index.flatten().to(device)
            self.flat_index = inside.flatten().nonzero().squeeze(-1).to(device)

    def pad(self, x: Tensor) -> Tensor:
        """(1, heads, N, d) -> (rows, heads, longest, d)."""
        x = x[0].transpose(0, 1)
        if not self.even:
            x = _Pad.apply(x, self.pad_index, self.flat_index)
        return x.unflatten(0, (self.rows, self.longest)).transpose(1, 2)

    def flatten(self, x: Tensor) -> Tensor:
        """(rows, heads, longest, d) -> (N, heads, d)."""
        x = x.transpose(1, 2).flatten(0, 1)
        return x if self.even else _Unpad.apply(x, self.flat_index)
