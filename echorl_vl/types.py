"""What passes between the parts of a training, in the order in which it is made.

    Problem        a row of a data set: question, images, answer                data -> prompts
    Prompt         a problem as the model reads it: text, token ids, patches    prompts -> rollout
    RolloutBatch   the responses to a step's prompts, and what was recorded     rollout -> reward, advantages, clips
    TrainBatch     what an optimizer step reads                                 -> update, metrics

P prompts, B rows (responses) in group order, T tokens of the longest response, C clips. Entropies are in nats.
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
"""A decoded picture, the bytes of a picture file, or the path of one."""

ROW_TENSORS = (
    "tokens", "response_mask", "text_mask", "log_probs", "entropy", "truncated", "on_policy", "aux_only",
)  # fmt: skip
"""Tensors of a RolloutBatch with one row a response."""


@dataclass(frozen=True)
class Keys:
    """Names of the columns, as in EasyR1's ``data.prompt_key``, ``answer_key``, ``image_key`` and ``video_key``.

    ``demonstration`` is the column of the worked solution, None without one. A dot in a name leads into a
    nested column.
    """

    prompt: str = "problem"
    answer: str = "answer"
    image: str = "images"
    video: str = "videos"
    demonstration: str | None = None


@dataclass(frozen=True)
class Problem:
    """A question with its pictures and its reference answer.

    ``question`` holds one ``<image>`` for each picture, in the order of ``images``. ``uid`` is "<source>:<row>", rows
    counted from 0 within their file. ``extra`` holds the other columns of the row, and that of the worked solution
    whatever else it is. ``keys`` are the names of the columns that the fields came from. ``system`` is the system
    message of a question that is a chat; None leaves it to the chat template.
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
        """Source and row in words, for error messages."""
        source, _, row = self.uid.rpartition(":")
        return f"{source}, row {row}" if source and row.isdigit() else self.uid


@dataclass(frozen=True)
class Prompt:
    """A problem as the model reads it; shared between epochs, so its tensors must not be changed in place.

    ``text`` is the chat as text, with one image token for each picture; ``input_ids`` (L,) int64 has one for each
    merged patch. ``pixel_values`` (patches, patch values) float32 and ``image_grid_thw`` (images, 3) int64 hold all
    images of the prompt in order, as its model family has them; both are None without images, and the grids where a
    family has none. The last ``hint_tokens`` of ``input_ids`` are the beginning of a response that the policy goes on
    with. ``sheet`` shows the images, decoded and side by side, to people. ``index`` is the problem's place in the
    training set.
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
        """Bytes held, roughly: tensors, text and undecoded pictures."""
        tensors = (self.input_ids, self.pixel_values, self.image_grid_thw)
        images = sum(len(image) for image in self.problem.images if isinstance(image, bytes))
        sheet = 0 if self.sheet is None else 3 * self.sheet.width * self.sheet.height
        return sum(t.nbytes for t in tensors if t is not None) + 4 * len(self.text) + images + sheet


class PromptLike(Protocol):
    """What is asked of a prompt once its responses are there: its problem, its token ids (L,) and its images' sheet."""

    problem: Problem
    input_ids: Tensor

    @property
    def sheet(self) -> Image.Image | None: ...


@dataclass
class RolloutBatch:
    """P prompts and B responses to them, rows in group order, T the longest response; padded on the right.

    prompts: (P,); group_ids (B,) int64, prompt of each row; tokens (B, T) int64; response_mask (B, T) bool, tokens that
    the policy wrote, the ending one included; text_mask (B, T) bool, those of them that are text; log_probs and entropy
    (B, T) float32, nats, 0 outside response_mask, None where the engine has none; truncated (B,) bool, no end within
    max_tokens; texts: (B,) decoded responses without special tokens; on_policy: (B,) bool, False for demonstrations
    (log_probs and entropy are 0 there), None if the policy wrote all.

    scores: (B,) parts of the reward of each row, None before grading. aux_only: (B,) bool, rows that are here for
    their clip and in no other term of the loss; None for none. metrics: of the sampling.
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
        """(B,) bool: rows that the policy wrote."""
        return torch.ones_like(self.truncated) if self.on_policy is None else self.on_policy

    def score(self, part: str) -> Tensor:
        """(B,) float32: one part of the reward of each row ("overall", "accuracy")."""
        return torch.tensor([row[part] for row in self.scores], dtype=torch.float32, device=self.tokens.device)


def take_rows(rollouts: RolloutBatch, rows: Tensor) -> RolloutBatch:
    """Some rows, by an ascending index (b,); prompts without a row go, and groups are numbered anew."""
    prompts, group_ids = rollouts.group_ids[rows].unique(return_inverse=True)
    columns: dict[str, Any] = {}
    for name in ROW_TENSORS:
        tensor = getattr(rollouts, name)
        columns[name] = None if tensor is None else tensor[rows]
    for name in ("texts", "scores"):
        column = getattr(rollouts, name)
        columns[name] = None if column is None else [column[row] for row in rows.tolist()]
    own_prompts = [rollouts.prompts[prompt] for prompt in prompts.tolist()]
    return replace(rollouts, prompts=own_prompts, group_ids=group_ids, **columns)


def concatenate(parts: Sequence[RolloutBatch], pad_id: int) -> RolloutBatch:
    """Several batches as one: prompts and rows in order, padded to the longest response; without their metrics."""
    width = max(part.tokens.shape[1] for part in parts)

    def joined(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        if tensors[0] is None:  # an engine that did not record it
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
    """Batches of the same prompts as one, in group order; within a group in the order of the parts.

    Args:
        parts: the first one has every prompt. numbers: for each part (p,), the number of its prompts in the first.
    """
    joined = concatenate(parts, pad_id)
    group_ids = torch.cat(list(numbers)).to(joined.group_ids.device)[joined.group_ids]
    order = group_ids.argsort(stable=True)
    moved = take_rows(replace(joined, group_ids=torch.zeros_like(group_ids)), order)
    return replace(moved, prompts=list(parts[0].prompts), group_ids=group_ids[order])


@dataclass
class TrainBatch:
    """The rollouts of a step (B rows, T tokens) with all that was worked out from them.

    rewards, accuracies: (B,). advantages: (B, 1), one a rollout, or (B, T). verified: (B,) bool. steps: (B, T) int64
    reasoning step of each token, and clips: both None without the echo term. ref_log_probs: (B, T), None without a
    reference.
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
        """Of graded rollouts; `echo` says which of them are verified."""
        accuracies = rollouts.score("accuracy")
        verified = verified_rollouts(accuracies, echo)
        rewards = rollouts.score("overall")
        return cls(rollouts, rewards, accuracies, advantages, verified, ref_log_probs=ref_log_probs)

    def take(self, rows: Tensor) -> TrainBatch:
        """The rows of an ascending index (b,); a row with a clip has to be among them."""
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
