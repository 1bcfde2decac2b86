"""The rollouts of one step as a parquet file: prompts, responses, rewards and the EchoClips mined from them.

One row is one rollout. Columns:

    step, row, group                 training step, row in the batch, group (= prompt) of the row
    uid, question, answer            of the problem
    picture                          the problem's images as one PNG, only in the first row of a group
    hint                             start of the response that is part of the prompt (UFT), else empty
    expert                           the response is a demonstration (LUFFY, SRFT, SFT): no log_probs, no entropies
    response                         decoded text, without special tokens
    tokens, log_probs, entropies     one value a response token; nats
    step_ids                         reasoning step of each token, -1 outside of steps
    step_texts, step_entropies       one value a reasoning step; nats (NaN where a step has no text token)
    reward_<key>                     every part of the reward: overall, accuracy, format, ...
    advantage, verified, truncated
    is_clip_source                   an EchoClip is a prefix of this row; the columns below are null if none is. Of
                                     several clips (select: topk) it is the one with the highest step entropy
    clip_end, clip_step              position of the clip's last token; its last reasoning step
    clip_tokens                      text tokens in the clip
    clip_text, clip_step_entropy     text of the clip; entropy of its last step, nats
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic

if TYPE_CHECKING:
    from PIL import Image

_COLUMNS = (
    ("step", pa.int32()),
    ("row", pa.int32()),
    ("group", pa.int32()),
    ("uid", pa.string()),
    ("question", pa.string()),
    ("answer", pa.string()),
    ("hint", pa.string()),
    ("expert", pa.bool_()),
    ("response", pa.string()),
    ("tokens", pa.list_(pa.int32())),
    ("log_probs", pa.list_(pa.float32())),
    ("entropies", pa.list_(pa.float32())),
    ("step_ids", pa.list_(pa.int32())),
    ("step_texts", pa.list_(pa.string())),
    ("step_entropies", pa.list_(pa.float32())),
    ("advantage", pa.float32()),
    ("verified", pa.bool_()),
    ("truncated", pa.bool_()),
    ("is_clip_source", pa.bool_()),
    ("clip_end", pa.int32()),
    ("clip_step", pa.int32()),
    ("clip_tokens", pa.int32()),
    ("clip_text", pa.string()),
    ("clip_step_entropy", pa.float32()),
    ("picture", pa.binary()),
)


def write_rollouts(
    path: Path,
    step: int,
    rollouts: Any,
    scores: Sequence[Mapping[str, float]],
    *,
    decode: Callable[[list[list[int]]], Sequence[str]],
    step_ids: Any = None,
    advantages: Any = None,
    verified: Any = None,
    clips: Any = None,
    images: bool = True,
) -> Path:
    """Writes one step's rollouts to `path`, completely or not at all.

    Args:
        path: e.g. `run.rollouts_file(step)`.
        step: the training step.
        rollouts: `RolloutBatch` of B rows. The columns of log_probs or entropy are null if these are None.
        scores: B dictionaries with the parts of each row's reward.
        decode: token ids of many pieces -> their texts without special tokens: `tokenizer.batch_decode` with
            skip_special_tokens=True.
        step_ids: (B, T) int; None writes no reasoning steps.
        advantages: (B,) float. verified: (B,) bool. clips: `EchoClips` or None.
        images: store each prompt's images.

    Raises:
        ValueError: there is not one score a rollout.
        UserError: the disk is full or the folder can't be written.
    """
    size = len(rollouts.texts)
    if len(scores) != size:
        raise ValueError(f"{len(scores)} scores for {size} rollouts")
    rows = _rows(step, rollouts, step_ids, decode)
    first_of_group: set[int] = set()
    clip_of_row = _highest_clip(clips)
    for index, row in enumerate(rows):
        row["advantage"] = None if advantages is None else float(advantages[index])
        row["verified"] = None if verified is None else bool(verified[index])
        row |= {f"reward_{key}": _number(value) for key, value in scores[index].items()}
        row["is_clip_source"] = index in clip_of_row
        if index in clip_of_row:
            row |= _clip_columns(row, *clip_of_row[index], decode)
        if images and row["group"] not in first_of_group:
            first_of_group.add(row["group"])
            row["picture"] = _png(rollouts.prompts[row["group"]].sheet)
    reward_keys = sorted({key for row in rows for key in row if key.startswith("reward_")})
    fields = [*_COLUMNS, *((key, pa.float32()) for key in reward_keys)]
    table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in fields})
    with atomic.replacing(Path(path), durable=False) as partial:
        pq.write_table(table, partial, compression="zstd")
    return Path(path)


def read_rollouts(path: str | Path) -> list[dict[str, Any]]:
    """Reads a file of `write_rollouts`, one dictionary a rollout. Raises UserError for a missing or damaged file."""
    try:
        return pq.read_table(path, partitioning=None).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} can't be read as a file of rollouts: {error}") from error


def rollout_files(run: str | Path, kind: str = "rollouts") -> dict[int, Path]:
    """Step -> file, in order of the steps, for the folder `rollouts` or `validation` of a run."""
    found = {}
    for path in sorted((Path(run) / kind).glob("step_*.parquet")):
        number = path.stem.removeprefix("step_")
        if number.isdecimal():
            found[int(number)] = path
    return found


def _png(sheet: Image.Image | None) -> bytes | None:
    if sheet is None:
        return None
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _rows(step: int, rollouts: Any, step_ids: Any, decode: Callable) -> list[dict[str, Any]]:
    tokens, mask = _array(rollouts.tokens), _array(rollouts.response_mask).astype(bool)
    log_probs, entropy = (
        None if values is None else _array(values) for values in (rollouts.log_probs, rollouts.entropy)
    )
    ids = np.full(tokens.shape, -1) if step_ids is None else _array(step_ids)
    groups, truncated = _array(rollouts.group_ids), _array(rollouts.truncated)
    on_policy = getattr(rollouts, "on_policy", None)
    on_policy = np.ones(len(truncated), dtype=bool) if on_policy is None else _array(on_policy)
    hints = _hints(rollouts.prompts, decode)
    rows, pieces = [], []
    for index, response in enumerate(rollouts.texts):
        length = int(mask[index].nonzero()[0].max(initial=-1)) + 1
        row_ids = ids[index, :length]
        row_entropy = None if entropy is None else entropy[index, :length]
        problem = rollouts.prompts[int(groups[index])].problem
        steps = range(int(row_ids.max(initial=-1)) + 1)
        pieces += [tokens[index, :length][row_ids == number].tolist() for number in steps]
        rows.append(
            {
                "step": step,
                "row": index,
                "group": int(groups[index]),
                "uid": problem.uid,
                "question": problem.question,
                "answer": problem.answer,
                "hint": hints[int(groups[index])],
                "expert": not bool(on_policy[index]),
                "response": response,
                "tokens": tokens[index, :length],
                "log_probs": None if log_probs is None else log_probs[index, :length],
                "entropies": row_entropy,
                "step_ids": row_ids,
                "step_entropies": None
                if row_entropy is None
                else [_mean(row_entropy[row_ids == number]) for number in steps],
                "truncated": bool(truncated[index]),
            }
        )
    texts = iter(decode(pieces) if pieces else [])
    for row in rows:
        row["step_texts"] = [next(texts) for _ in range(int(row["step_ids"].max(initial=-1)) + 1)]
    return rows


def _hints(prompts: Sequence[Any], decode: Callable) -> list[str]:
    counts = [getattr(prompt, "hint_tokens", 0) for prompt in prompts]  # only prompts of the local engine have hints
    if not any(counts):
        return [""] * len(prompts)
    ids = [prompt.input_ids.tolist() for prompt in prompts]
    return list(decode([prompt[len(prompt) - count :] for prompt, count in zip(ids, counts, strict=True)]))


def _highest_clip(clips: Any) -> dict[int, tuple[int, int, float]]:
    """Row -> (end, text tokens, step entropy) of its clip, or of the one with the highest step entropy."""
    best: dict[int, tuple[int, int, float]] = {}
    if clips is None:
        return best
    columns = (_array(getattr(clips, name)).tolist() for name in ("rows", "ends", "lengths", "step_entropies"))
    for row, end, length, entropy in zip(*columns, strict=True):
        if row not in best or entropy > best[row][2]:
            best[row] = (end, length, entropy)
    return best


def _clip_columns(row: dict[str, Any], end: int, length: int, entropy: float, decode: Callable) -> dict[str, Any]:
    ids = row["step_ids"][: end + 1]
    text = decode([row["tokens"][: end + 1][ids >= 0].tolist()])[0]
    return {
        "clip_end": end,
        "clip_step": int(row["step_ids"][end]),
        "clip_tokens": length,
        "clip_text": text,
        "clip_step_entropy": entropy,
    }


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
