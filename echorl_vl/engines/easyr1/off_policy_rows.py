"""LUFFY and SRFT: the last row of each group is a demonstration, which is added right after sampling.

EasyR1's loop takes a batch of problems, samples responses, repeats each problem n times and joins the two. The
demonstrations are kept when the batch is loaded; then n - 1 responses to each problem are sampled, and its
demonstration is appended to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from verl.protocol import DataProto

from echorl_vl.engines.easyr1.datasets import DEMONSTRATION
from echorl_vl.engines.easyr1.settings import ON_POLICY

Call = Callable[[DataProto], DataProto]  # a method of the workers


class OffPolicyRows:
    """Makes groups of `n` rows whose last row is a demonstration, padded with `pad_id`."""

    def __init__(self, n: int, pad_id: int) -> None:
        self.n, self.pad_id = n, pad_id
        self._demonstrations: list[Tensor] | None = None

    def watch(self, dataloader: Any) -> Any:
        """Wrap the data loader of the training set: demonstrations are removed from a batch for the next `generate`."""
        return _WatchedLoader(dataloader, self._note)

    def generate(self, host_generate: Call, prompts: DataProto) -> DataProto:
        """EasyR1's `generate_sequences`, with demonstrations in training.

        Returns:
            P * n rows for P prompts. The column `on_policy` (P * n,) is False for demonstrations.
        """
        noted, self._demonstrations = self._demonstrations, None
        if noted is None:  # validation
            return host_generate(prompts)
        prompts.meta_info["n"] = self.n - 1
        sampled = host_generate(prompts)
        del prompts.meta_info["n"]
        return with_off_policy_rows(sampled, noted, self.n, self.pad_id)

    def reference(self, host_reference: Call, batch: DataProto) -> DataProto:
        """EasyR1's `compute_ref_log_probs`, but the old log-probs for demonstrations.

        Their KL penalty is then 0, so that their rewards stay as graded.
        """
        output = host_reference(batch)
        own = batch.batch[ON_POLICY][:, None]
        values = torch.where(own, output.batch["ref_log_probs"], batch.batch["old_log_probs"])
        return DataProto.from_dict({"ref_log_probs": values}, meta_info=output.meta_info)

    def _note(self, batch: dict[str, Any]) -> None:
        self._demonstrations = [torch.tensor(list(tokens)) for tokens in batch.pop(DEMONSTRATION)]


def with_off_policy_rows(sampled: DataProto, demonstrations: list[Tensor], n: int, pad_id: int) -> DataProto:
    """P * n rows from P * (n - 1) sampled rows in group order: each group ends with its demonstration (L,)."""
    groups = torch.arange(len(demonstrations))[:, None] * (n - 1)
    rows = (groups + torch.arange(n).clamp(max=n - 2)).flatten()  # the last sampled row is repeated for its prompt
    whole = sampled.index_select(rows)
    tensors = {name: tensor.clone() for name, tensor in whole.batch.items()}  # a TensorDict from Ray is locked
    width = tensors["responses"].shape[1]
    last = torch.arange(n - 1, len(rows), n)
    tokens = torch.full((len(demonstrations), width), pad_id, dtype=tensors["responses"].dtype)
    written = pad_sequence(demonstrations, batch_first=True, padding_value=pad_id)
    tokens[:, : written.shape[1]] = written
    mask = torch.arange(width) < torch.tensor([len(one) for one in demonstrations])[:, None]
    tensors["responses"][last] = tensors["input_ids"][last, -width:] = tokens
    tensors["response_mask"][last] = mask.to(tensors["response_mask"].dtype)
    tensors["attention_mask"][last, -width:] = mask.to(tensors["attention_mask"].dtype)
    tensors[ON_POLICY] = torch.ones(len(rows), dtype=torch.bool).index_fill(0, last, False)
    meta = {name: value for name, value in whole.meta_info.items() if name != "n"}
    return DataProto.from_dict(tensors, dict(whole.non_tensor_batch), meta)


class _WatchedLoader:
    """A data loader that calls `note` with each batch."""

    def __init__(self, dataloader: Any, note: Callable[[dict[str, Any]], None]) -> None:
        self._dataloader, self._note = dataloader, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataloader, name)

    def __len__(self) -> int:
        return len(self._dataloader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._dataloader:
            self._note(batch)
            yield batch
