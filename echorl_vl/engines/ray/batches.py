"""Build `RolloutBatch`es from a host's batches."""

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
"""Columns that carry a problem's uid and question through the host, which keeps only the token ids of a prompt."""


@dataclass(frozen=True)
class PromptRecord:
    """A problem and the token ids (L,) of its prompt, without padding."""

    problem: Problem
    input_ids: Tensor

    @property
    def sheet(self) -> Image.Image | None:
        """The problem's images side by side; None without images, or if one can no longer be read.

        Images are decoded on access, not when a batch is loaded: a decoded photo takes several times the memory of its
        file, and every row of a batch would carry it.
        """
        with suppress(UserError):
            opened = [open_image(image, self.problem.uid) for image in self.problem.images]
            return side_by_side(opened) if opened else None
        return None


class RolloutReader:
    """Builds `RolloutBatch`es of one tokenizer.

    Args:
        tokenizer: the policy's.
        model_config: transformers' config of the model, which names the visual tokens. None: any visual tokens that
            the tokenizer knows.
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
        """Build a batch of B rows.

        A sampled response is truncated if it has the maximum length and does not end in a special token.

        Args:
            prompts: P prompts.
            group_ids: (B,) the prompt of each row.
            tokens: (B, T) response tokens, padded on the right.
            response_mask: (B, T) bool, tokens that the policy wrote.
            lengths: (B,) length of each response, including tokens that the policy did not write.
            longest: maximum length of a response.
            on_policy: (B,) bool, False for demonstrations. None: there are none.
            recorded: further fields of `RolloutBatch`.
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
        """Decode token ids, without special tokens."""
        return self.tokenizer.batch_decode(pieces, skip_special_tokens=True)


def number_groups(uids: Iterable[Any]) -> Tensor:
    """(B,) int64 group of each row: prompt names of the host, numbered by first appearance."""
    numbers: dict[Any, int] = {}
    return torch.tensor([numbers.setdefault(uid, len(numbers)) for uid in uids], dtype=torch.long)


def first_rows(group_ids: Tensor) -> list[int]:
    """Index of the first row of each group."""
    rows: dict[int, int] = {}
    for row, group in enumerate(group_ids.tolist()):
        rows.setdefault(group, row)
    return [rows[group] for group in sorted(rows)]
