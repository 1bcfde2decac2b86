"""`flash_attn.bert_padding` in plain torch, for EasyR1's padding-free batches. M = batch * sequence, N kept tokens."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor


def index_first_axis(values: Tensor, indices: Tensor) -> Tensor:
    """(N, ...) rows `indices` (N,) of `values` (M, ...)."""
    return values[indices]


def unpad_input(hidden_states: Tensor, attention_mask: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, int, Tensor]:
    """(batch, sequence, ...) -> (N, ...) tokens in the mask, their indices, cumulative lengths, longest, lengths."""
    lengths = attention_mask.sum(-1, dtype=torch.int32)
    indices = attention_mask.flatten().nonzero().flatten()
    cumulative = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return hidden_states.flatten(0, 1)[indices], indices, cumulative, int(lengths.max()), lengths


def pad_input(hidden_states: Tensor, indices: Tensor, batch: int, seqlen: int) -> Tensor:
    """(N, ...) -> (batch, sequence, ...), zeros elsewhere."""
    padded = hidden_states.new_zeros(batch * seqlen, *hidden_states.shape[1:])
    return padded.index_copy(0, indices, hidden_states).unflatten(0, (batch, seqlen))


MODULES = {
    "flash_attn": {},
    "flash_attn.bert_padding": {
        "index_first_axis": index_first_axis,
        "pad_input": pad_input,
        "rearrange": rearrange,
        "unpad_input": unpad_input,
    },
}
