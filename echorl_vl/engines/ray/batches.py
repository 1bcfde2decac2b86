"""From a host's batches to the project's own: which prompts, what was written, and what was recorded with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizer

from echorl_vl.data.images import open_image, side_by_side
from echorl_vl.errors import UserError
from echorl_vl.models.tokens import VisualTokens, special_token_ids, text_mask
from echorl_vl.types import Problem, RolloutBatch

if TYPE_CHECKING:
    from PIL import Image

UID, QUESTION = "problem_uid", "problem_question"
"""Columns of a problem set that pass through the host: it keeps neither once a prompt is made of token ids."""


@dataclass(frozen=True)
class PromptRecord:
    """A prompt as a host keeps it: its problem, and token ids (L,) without padding."""

    problem: Problem
    input_ids: Tensor

    @property
    def sheet(self) -> Image.Image | None:
        """The problem's images side by side, opened anew; None where there is none or one can't be read any more.

        A host decodes them in other processes and hands their bytes on. Sheets made there would have to come along with
        every row, also of the batches that are loaded ahead, and a photo's takes several times its file.
        """
        with suppress(UserError):
            opened = [open_image(image, self.problem.uid) for image in self.problem.images]
            return side_by_side(opened) if opened else None
        return None


class RolloutReader:
    """Makes RolloutBatches; built once per tokenizer.

    Args:
        model_config: transformers' config of the model, None where there is none at hand; tells the visual tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizer, model_config: Any = None) -> None:
        self.tokenizer = tokenizer
        self.visual = VisualTokens.find(model_config, tokenizer)
        self.special_ids = special_token_ids(tokenizer)

    def rollouts(
        self,
        prompts: Sequence[PromptRecord],
        group_ids: Tensor,
        tokens: Tensor,
        response_mask: Tensor,
        lengths: Tensor,
        longest: int,
        on_policy: Tensor | None = None,
        **recorded: Any,
    ) -> RolloutBatch:
        """Rows of (B, T) tokens padded on the right, of which response_mask (B, T) bool were written by the policy.

        A response is truncated if it is as long as can be and does not end in a special token; a demonstration is not.

        Args:
            lengths: (B,) tokens of each response, others than the policy's included. longest: the most there can be.
            recorded: what else a RolloutBatch has.
        """
        last = tokens.gather(1, (lengths - 1).clamp(min=0)[:, None]).squeeze(1)
        truncated = (lengths >= longest) & ~torch.isin(last, self.special_ids)
        return RolloutBatch(
            prompts=prompts,
            group_ids=group_ids,
            tokens=tokens,
            response_mask=response_mask,
            text_mask=text_mask(tokens, response_mask, self.visual, self.special_ids),
            truncated=truncated if on_policy is None else truncated & on_policy,
            texts=self.decode([row[:n] for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)]),
            on_policy=on_policy,
            **recorded,
        )

    def decode(self, pieces: list[list[int]]) -> list[str]:
        """Texts of token ids, special tokens skipped."""
        return self.tokenizer.batch_decode(pieces, skip_special_tokens=True)


def number_groups(uids: Iterable[Any]) -> Tensor:
    """(B,) int64: the group of each row, from a host's names of prompts, numbered by first appearance."""
    numbers: dict[Any, int] = {}
    return torch.tensor([numbers.setdefault(uid, len(numbers)) for uid in uids], dtype=torch.long)


def first_rows(group_ids: Tensor) -> list[int]:
    """(P,) the first row of each group."""
    rows: dict[int, int] = {}
    for row, group in enumerate(group_ids.tolist()):
        rows.setdefault(group, row)
    return [rows[group] for group in sorted(rows)]
