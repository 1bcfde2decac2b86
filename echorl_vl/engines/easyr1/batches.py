"""Build `RolloutBatch`es from EasyR1's `DataProto`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from verl.protocol import DataProto

from echorl_vl.engines.easyr1.settings import ON_POLICY
from echorl_vl.engines.ray.batches import QUESTION, UID, PromptRecord, RolloutReader, first_rows, number_groups
from echorl_vl.types import Problem, RolloutBatch


class BatchReader(RolloutReader):
    """Reads `DataProto` batches."""

    def read(self, batch: DataProto) -> RolloutBatch:
        """Read all rows of `batch`, in order. Groups (rows of equal `uid`) are numbered by first appearance.

        `log_probs` and `entropy` come from the pass for the old log-probs. They are None in validation, which has no
        such pass, and 0 for demonstrations.
        """
        tokens, mask = batch.batch["responses"], batch.batch["response_mask"].bool()
        own = batch.batch.get(ON_POLICY, None)
        sampled = mask if own is None else mask & own[:, None]
        groups = number_groups(batch.non_tensor_batch["uid"])
        return self.rollouts(
            [_prompt(batch, row) for row in first_rows(groups)],
            groups,
            tokens,
            mask,
            mask.sum(-1),
            tokens.shape[1],
            own,
            log_probs=_column(batch, "old_log_probs", sampled),
            entropy=_column(batch, "entropies", sampled),
        )


def _prompt(batch: DataProto, row: int) -> PromptRecord:
    prompts = batch.batch["prompts"]
    inside = batch.batch["attention_mask"][row, : prompts.shape[1]].bool()
    extra = {name: values[row] for name, values in batch.non_tensor_batch.items()}
    images = (extra.get("multi_modal_data") or {}).get("images", ())
    problem = Problem(
        extra[UID], extra[QUESTION], str(extra["ground_truth"]), tuple(_image_source(image) for image in images)
    )
    return PromptRecord(problem, prompts[row][inside])


def _column(batch: DataProto, name: str, mask: Tensor) -> Tensor | None:
    return torch.where(mask, batch.batch[name].float(), 0.0) if name in batch.batch else None


def _image_source(image: Any) -> Any:
    return (image.get("bytes") or image.get("path")) if isinstance(image, dict) else image
