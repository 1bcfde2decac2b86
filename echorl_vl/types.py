"""The data types of training, in the order of the data flow.

    Problem        a row of a data set: question, images, answer                  data -> prompts
    Prompt         an encoded problem: text, token ids, pixel values              prompts -> rollout
    RolloutBatch   the responses to the prompts of a step, with their log-probs   rollout -> reward, advantages, clips
    TrainBatch     the input of an optimizer step                                 -> update, metrics

Shapes: P prompts, B rows (responses) in group order, T tokens of the longest response, C clips. Entropies are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from echorl_vl.core import EchoClips, EchoConfig, verified_rollouts

if TYPE_CHECKING:
    from PIL import Image

ImageSource: TypeAlias = "Image.Image | bytes | str"
"""A decoded image, or the content or the path of an image file."""

ROW_TENSORS = (
    "tokens", "response_mask", "text_mask", "log_probs", "entropy", "truncated", "on_policy", "aux_only",
)  # fmt: skip
"""Tensors of a RolloutBatch with one row per response."""


@dataclass(frozen=True)
class Keys:
    """Names of the columns, like EasyR1's `data.prompt_key`, `answer_key`, `image_key` and `video_key`.

    `demonstration` names the column of demonstrations, if any. A dot in a name selects a field of a nested column.
    """

    prompt: str = "problem"
    answer: str = "answer"
    image: str = "images"
    video: str = "videos"
    demonstration: str | None = None


@dataclass(frozen=True)
class Problem:
    """A question with its images and its reference answer.

    Attributes:
        uid: "<source>:<row>", with rows counted from 0 in their file.
        question: the text, with one `<image>` per image, in the order of `images`.
        answer: the reference answer.
        images: the images of the question.
        extra: the other columns of the row. Includes the column of demonstrations even if it has another role, too.
        keys: the columns that the fields were read from.
        system: system message of a question in chat format. None: the default of the chat template.
    """

    uid: str
    question: str
    answer: str
    images: tuple[ImageSource, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    keys: Keys = Keys()
    system: str | None = None

    @property
    def where(self) -> str:
        """Source and row, for error messages."""
        source, _, row = self.uid.rpartition(":")
        return f"{source}, row {row}" if source and row.isdigit() else self.uid


@dataclass(frozen=True)
class Prompt:
    """An encoded problem. Epochs share it, so its tensors must not be modified in place.

    Attributes:
        problem: the problem.
        text: the formatted chat, with one image token per image.
        input_ids: (L,) int64, with one image token per image feature (merged patch).
        pixel_values: (patches, patch values) float32, all images in order, in the format of the model family; None
            without images.
        image_grid_thw: (images, 3) int64, patches along time, height and width; None without images, or if the model
            family has no grids.
        hint_tokens: number of tokens at the end of `input_ids` that are a hint: the policy continues the response after
            them.
        sheet: the decoded images side by side, for display.
        index: index of the problem in the training set.
    """

    problem: Problem
    text: str
    input_ids: Tensor
    pixel_values: Tensor | None = None
    image_grid_thw: Tensor | None = None
    hint_tokens: int = 0
    sheet: Image.Image | None = None
    index: int | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def nbytes(self) -> int:
        """Approximate size in memory: tensors, text, encoded image files and the sheet."""
        tensors = (self.input_ids, self.pixel_values, self.image_grid_thw)
        images = sum(len(image) for image in self.problem.images if isinstance(image, bytes))
        sheet = 0 if self.sheet is None else 3 * self.sheet.width * self.sheet.height
        return sum(t.nbytes for t in tensors if t is not None) + 4 * len(self.text) + images + sheet


class PromptLike(Protocol):
    """The part of `Prompt` that is used after sampling: the problem, the token ids (L,) and the sheet of images."""

    problem: Problem
    input_ids: Tensor

    @property
    def sheet(self) -> Image.Image | None: ...


@dataclass
class RolloutBatch:
    """P prompts and B responses to them, in group order and padded on the right.

    Attributes:
        prompts: (P,) prompts.
        group_ids: (B,) int64, index of each row's prompt.
        tokens: (B, T) int64.
        response_mask: (B, T) bool, tokens that the policy generated, including the end token.
        text_mask: (B, T) bool, tokens of `response_mask` that are text.
        log_probs: (B, T) float32, nats, 0 outside `response_mask` and for demonstrations; None if the engine does not
            record them.
        entropy: the same for the entropies.
        truncated: (B,) bool, the response hit the length limit.
        texts: (B,) decoded responses without special tokens.
        on_policy: (B,) bool, False for demonstrations. None: all rows are on-policy.
        scores: (B,) parts of the reward of each row; None before grading.
        aux_only: (B,) bool, rows that are used for their clip alone and in no other term of the loss. None: no row.
        metrics: metrics of sampling.
    """

    prompts: Sequence[PromptLike]
    group_ids: Tensor
    tokens: Tensor
    response_mask: Tensor
    text_mask: Tensor
    log_probs: Tensor | None
    entropy: Tensor | None
    truncated: Tensor
    texts: list[str]
    on_policy: Tensor | None = None
    scores: list[dict[str, float]] | None = None
    aux_only: Tensor | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def is_on_policy(self) -> Tensor:
        """(B,) bool: rows that the policy sampled."""
        return torch.ones_like(self.truncated) if self.on_policy is None else self.on_policy

    def score(self, part: str) -> Tensor:
        """(B,) float32: a part of the reward of each row ("overall", "accuracy", ...)."""
        return torch.tensor([row[part] for row in self.scores], dtype=torch.float32, device=self.tokens.device)


def take_rows(rollouts: RolloutBatch, rows: Tensor) -> RolloutBatch:
    """Select rows by an ascending index (b,). Prompts without rows are dropped and groups are renumbered."""
    prompts, group_ids = rollouts.group_ids[rows].unique(return_inverse=True)
    columns: dict[str, Any] = {}
    for name in ROW_TENSORS:
        tensor = getattr(rollouts, name)
        columns[name] = None if tensor is None else tensor[rows]
    for name in ("texts", "scores"):
        column = getattr(rollouts, name)
        columns[name] = None if column is None else [column[row] for row in rows.tolist()]
    kept_prompts = [rollouts.prompts[prompt] for prompt in prompts.tolist()]
    return replace(rollouts, prompts=kept_prompts, group_ids=group_ids, **columns)


def concatenate(parts: Sequence[RolloutBatch], pad_id: int) -> RolloutBatch:
    """Concatenate batches: prompts and rows in order, padded to the longest response. Drops their metrics."""
    width = max(part.tokens.shape[1] for part in parts)

    def joined(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        if tensors[0] is None:  # the engine does not record it
            return None
        if tensors[0].dim() == 2:
            value = pad_id if name == "tokens" else 0
            tensors = [pad(tensor, (0, width - tensor.shape[1]), value=value) for tensor in tensors]
        return torch.cat(tensors)

    if any(part.on_policy is not None for part in parts):
        parts = [replace(part, on_policy=part.is_on_policy) for part in parts]
    starts = [sum(len(part.prompts) for part in parts[:index]) for index in range(len(parts))]
    return RolloutBatch(
        prompts=[prompt for part in parts for prompt in part.prompts],
        group_ids=torch.cat([part.group_ids + start for part, start in zip(parts, starts, strict=True)]),
        texts=[text for part in parts for text in part.texts],
        scores=None if parts[0].scores is None else [score for part in parts for score in part.scores],
        **{name: joined(name) for name in ROW_TENSORS},
    )


def merge_groups(parts: Sequence[RolloutBatch], numbers: Sequence[Tensor], pad_id: int) -> RolloutBatch:
    """Merge batches with the same prompts into one in group order; rows of a group are in the order of the parts.

    Args:
        parts: batches; the first has all prompts.
        numbers: for each part, the indices (p,) of its prompts in the first part.
        pad_id: token id for padding.
    """
    joined = concatenate(parts, pad_id)
    group_ids = torch.cat(list(numbers)).to(joined.group_ids.device)[joined.group_ids]
    order = group_ids.argsort(stable=True)
    moved = take_rows(replace(joined, group_ids=torch.zeros_like(group_ids)), order)
    return replace(moved, prompts=list(parts[0].prompts), group_ids=group_ids[order])


@dataclass
class TrainBatch:
    """The input of an optimizer step: B rollouts of at most T tokens, with their advantages and clips.

    Attributes:
        rollouts: the graded rollouts.
        rewards: (B,) the whole reward.
        accuracies: (B,) the accuracy part of the reward.
        advantages: (B, 1) or (B, T).
        verified: (B,) bool, the answer is correct.
        steps: (B, T) int64, reasoning step of each token; None without the echo term.
        clips: the clips of the echo term; None without it.
        ref_log_probs: (B, T) log-probs of the reference policy; None without one.
    """

    rollouts: RolloutBatch
    rewards: Tensor
    accuracies: Tensor
    advantages: Tensor
    verified: Tensor
    steps: Tensor | None = None
    clips: EchoClips | None = None
    ref_log_probs: Tensor | None = None

    @classmethod
    def from_rollouts(
        cls, rollouts: RolloutBatch, advantages: Tensor, echo: EchoConfig, ref_log_probs: Tensor | None = None
    ) -> TrainBatch:
        """Create the batch of graded rollouts, without clips; `echo` sets the threshold of verified rollouts."""
        accuracies = rollouts.score("accuracy")
        verified = verified_rollouts(accuracies, echo)
        rewards = rollouts.score("overall")
        return cls(rollouts, rewards, accuracies, advantages, verified, ref_log_probs=ref_log_probs)

    def take(self, rows: Tensor) -> TrainBatch:
        """Select rows by an ascending index (b,), which must include all rows with a clip."""
        clips = self.clips
        if clips is not None:
            clips = replace(clips, rows=torch.searchsorted(rows, clips.rows), token_weights=clips.token_weights[rows])
        optional = {name: getattr(self, name) for name in ("steps", "ref_log_probs")}
        return TrainBatch(
            rollouts=take_rows(self.rollouts, rows),
            rewards=self.rewards[rows],
            accuracies=self.accuracies[rows],
            advantages=self.advantages[rows],
            verified=self.verified[rows],
            clips=clips,
            **{name: None if tensor is None else tensor[rows] for name, tensor in optional.items()},
        )
