"""The KV cache of a rollout: one copy per prompt, shared by its rollouts, and a buffer per response."""

from __future__ import annotations

import torch
from torch import Tensor

from echorl_vl.engines.local.attention import Ragged, attend_padded


class PromptCache:
    """Keys and values of P prompts, (P, kv_heads, longest, d) per layer; the attention layout of the prefill.

    The prefill runs over chunks of prompts; `begin` selects the prompts of the next forward pass.
    """

    def __init__(self, lengths: Tensor, device: torch.device) -> None:
        self.lengths, self.device = lengths, device
        self.longest = int(lengths.max())
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self._first = 0

    @property
    def span(self) -> int:
        """Tokens of the longest prompt."""
        return self.longest

    def begin(self, first: int, last: int) -> None:
        """Selects prompts `first` to `last` - 1 for the next forward pass."""
        self._first = first
        self._rows = Ragged(self.lengths[first:last], self.device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Causal attention within each prompt of the chunk; stores keys and values."""
        q, k, v = (self._rows.pad(x) for x in (query, key, value))
        for store, x in ((self.keys, k), (self.values, v)):
            if layer not in store:
                store[layer] = x.new_zeros(len(self.lengths), x.shape[1], self.longest, x.shape[3])
            store[layer][self._first : self._first + self._rows.rows, :, : self._rows.longest] = x
        return self._rows.flatten(attend_padded(q, k, v, scaling, None))[None]

    def select(self, prompts: Tensor) -> None:
        """Keeps some prompts, given by their indices."""
        self.lengths = self.lengths[prompts]
        self.longest = int(self.lengths.max())
        at = prompts.to(self.device)
        for store in (self.keys, self.values):
            for layer, x in store.items():
                store[layer] = x[at, :, : self.longest]

    def bias(self) -> Tensor | None:
        """(P, 1, 1, longest) float32, -inf on padding; None if all prompts have the same length."""
        if bool((self.lengths == self.longest).all()):
            return None
        outside = torch.arange(self.longest) >= self.lengths[:, None]
        return torch.zeros(outside.shape).masked_fill_(outside, float("-inf"))[:, None, None].to(self.device)


class ResponseCache:
    """The attention layout of a decode step: P prompts times m slots, one new token per slot.

    Row g * m + j is slot j of prompt g. The query of a slot attends to the keys of its prompt, which all slots share
    without a copy, and to its own. A slot's own keys are in buffers (slots, kv_heads, capacity, d) that double in
    size when they are full, so most steps copy nothing.
    """

    def __init__(self, prompts: PromptCache, slots_per_prompt: int, max_tokens: int) -> None:
        self.prompts, self.slots_per_prompt, self.max_tokens = prompts, slots_per_prompt, max_tokens
        self.length = 0  # tokens per slot, the step's own included
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._bias = prompts.bias()

    @property
    def span(self) -> int:
        """Tokens of the longest prompt plus those of the responses so far."""
        return self.prompts.longest + self.length

    def advance(self) -> None:
        """Makes room for one more token per slot."""
        self.length += 1

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """One query per slot over its prompt and its response so far, in one softmax."""
        own_k = self._write(self._keys, layer, key)
        own_v = self._write(self._values, layer, value)
        k, v = self.prompts.keys[layer], self.prompts.values[layer]
        prompts, kv_heads, longest, _ = k.shape
        slots, m = query.shape[2], self.slots_per_prompt
        groups = query.shape[1] // kv_heads

        q = (query[0] * scaling).transpose(0, 1).unflatten(1, (kv_heads, groups))  # (slots, kv_heads, groups, d)
        own = q @ own_k.transpose(-1, -2)
        # One matrix product with the prompt's keys serves all of its slots.
        shared = self._by_prompt(q, prompts, m) @ k.transpose(-1, -2)
        if self._bias is not None:
            shared = shared + self._bias
        scores = torch.cat([shared, self._by_prompt(own, prompts, m)], -1)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
        shared, own = weights.split([longest, scores.shape[-1] - longest], -1)
        out = self._by_slot(shared @ v, m) + self._by_slot(own, m) @ own_v
        return out.reshape(1, slots, kv_heads * groups, -1)

    def select(self, prompts: Tensor, slots: Tensor, slots_per_prompt: int) -> None:
        """Keeps some prompts and slots, given by their indices; slots in the given order."""
        if len(prompts) < len(self.prompts.lengths):
            self.prompts.select(prompts)
            self._bias = self.prompts.bias()
        self.slots_per_prompt = slots_per_prompt
        at = slots.to(self.prompts.device)
        for store in (self._keys, self._values):
            for layer, x in store.items():
                store[layer] = x[at]

    def _write(self, store: dict[int, Tensor], layer: int, new: Tensor) -> Tensor:
        """Appends (1, kv_heads, slots, d) to the buffers; returns a view of all tokens so far."""
        _, kv_heads, slots, d = new.shape
        buffer = store.get(layer)
        capacity = 0 if buffer is None else buffer.shape[2]
        if self.length > capacity:
            grown = new.new_empty(slots, kv_heads, min(self.max_tokens, max(64, 2 * capacity)), d)
            if buffer is not None:
                grown[:, :, :capacity] = buffer
            store[layer] = buffer = grown
        buffer[:, :, self.length - 1] = new[0].transpose(0, 1)
        return buffer[:, :, : self.length]

    @staticmethod
    def _by_prompt(x: Tensor, prompts: int, m: int) -> Tensor:
        """(prompts * m, kv_heads, groups, w) -> (prompts, kv_heads, m * groups, w)."""
        return x.unflatten(0, (prompts, m)).transpose(1, 2).flatten(2, 3)

    @staticmethod
    def _by_slot(x: Tensor, m: int) -> Tensor:
        """The inverse of `_by_prompt`."""
        return x.unflatten(2, (m, x.shape[2] // m)).transpose(1, 2).flatten(0, 1)
