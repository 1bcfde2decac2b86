"""From EasyR1's batches to the project's own: what was asked, what was written, and what was recorded with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizer
from verl.protocol import DataProto

from echorl_vl.engines.easyr1.rewards import group_ids
from echorl_vl.engines.easyr1.settings import OWN_POLICY
from echorl_vl.models.tokens import VisualTokens, special_token_ids, text_mask
from echorl_vl.types import Problem, RolloutBatch


@dataclass(frozen=True)
class PromptRecord:
    """A prompt as EasyR1 keeps it: token ids (L,) without padding, and the problem as far as the batch tells."""

    problem: Problem
    input_ids: Tensor


class BatchReader:
    """Reads `DataProto` batches; built once per tokenizer.

    Args:
        model_config: transformers' config of the model, None where there is none at hand; tells the visual tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizer, model_config: Any = None):
        self.tokenizer = tokenizer
        self.visual = VisualTokens.find(model_config, tokenizer)
        self.special_ids = special_token_ids(tokenizer)

    def rollouts(self, batch: DataProto) -> RolloutBatch:
        """The rows of `batch`, in their order; groups (equal `uid`) numbered by first appearance.

        `log_probs` and `entropy` are those of the pass that gave the old log-probs, None where it has not run (in
        validation). A response is truncated if it fills the width without ending in a special token. An expert's rows
        have neither, and are not truncated.
        """
        tokens, mask = batch.batch["responses"], batch.batch["response_mask"].bool()
        own = batch.batch.get(OWN_POLICY, None)
        sampled = mask if own is None else mask & own[:, None]
        lengths = mask.sum(-1)
        groups = group_ids(batch.non_tensor_batch["uid"])
        last = tokens.gather(1, (lengths - 1).clamp(min=0)[:, None]).squeeze(1)
        responses = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
        return RolloutBatch(
            prompts=self._prompts(batch, groups),
            group_ids=groups,
            tokens=tokens,
            response_mask=mask,
            text_mask=text_mask(tokens, mask, self.visual, self.special_ids),
            log_probs=_column(batch, "old_log_probs", sampled),
            entropy=_column(batch, "entropies", sampled),
            truncated=(lengths == tokens.shape[1]) & ~torch.isin(last, self.special_ids) & sampled.any(-1),
            texts=self.decode(responses),
            on_policy=own,
        )

    def decode(self, pieces: list[list[int]]) -> list[str]:
        """Texts of token ids, special tokens skipped."""
        return self.tokenizer.batch_decode(pieces, skip_special_tokens=True)

    def _prompts(self, batch: DataProto, groups: Tensor) -> list[PromptRecord]:
        """One prompt a group, from the group's first row."""
        first = torch.full((int(groups.max()) + 1,), len(groups)).scatter_reduce(
            0, groups, torch.arange(len(groups)), "amin"
        )
        width = batch.batch["prompts"].shape[1]
        prompts = []
        for row in first.tolist():
            ids = batch.batch["prompts"][row][batch.batch["attention_mask"][row, :width].bool()]
            extra = {name: values[row] for name, values in batch.non_tensor_batch.items()}
            images = (extra.get("multi_modal_data") or {}).get("images", ())
            problem = Problem(
                uid=str(extra.get("uid", row)),
                question=self._question(ids),
                answer=str(extra.get("ground_truth", "")),
                images=tuple(_picture(image) for image in images),
            )
            prompts.append(PromptRecord(problem, ids))
        return prompts

    def _question(self, ids: Tensor) -> str:
        """The last turn before the one to be written, out of a chat's token ids (L,); the batch has no other text."""
        ids = ids[~self.visual.mask(ids)]
        turn = torch.isin(ids, self.special_ids).cumsum(0)
        turns = [text.strip() for text in self.decode([ids[turn == number].tolist() for number in turn.unique()])]
        turns = [text for text in turns if text]
        return turns[-2 if len(turns) > 1 else -1].removeprefix("user\n") if turns else ""


def _column(batch: DataProto, name: str, mask: Tensor) -> Tensor | None:
    return torch.where(mask, batch.batch[name].float(), 0.0) if name in batch.batch else None


def _picture(image: Any) -> Any:
    return (image.get("bytes") or image.get("path")) if isinstance(image, dict) else image
