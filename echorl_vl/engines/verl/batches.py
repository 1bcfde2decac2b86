"""Build `RolloutBatch`es from batches in verl's TransferQueue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta
from transformers import PreTrainedTokenizer

from echorl_vl.engines.ray.batches import QUESTION, UID, PromptRecord, RolloutReader, first_rows, number_groups
from echorl_vl.errors import UserError
from echorl_vl.types import Problem, RolloutBatch

FIELDS = ("prompts", "responses", "response_mask", "extra_fields", "reward_model", "index")
RECORDED = ("old_log_probs", "entropy", "advantages")


@dataclass(frozen=True)
class ReadBatch:
    """Rows of a batch in group order.

    Attributes:
        keys: names of the rows in the queue.
        lengths: length of each response, including tokens that the policy did not write.
        rollouts: the rows with their scores.
        advantages: (B, T); None before they are computed.
    """

    keys: list[str]
    lengths: list[int]
    rollouts: RolloutBatch
    advantages: Tensor | None


class BatchReader(RolloutReader):
    """Reads batches. `fields`: further columns; `extra_info` if the adapter wrote the problem sets (`datasets`)."""

    def __init__(self, tokenizer: PreTrainedTokenizer, max_response_length: int, fields: tuple[str, ...] = ()) -> None:
        super().__init__(tokenizer)
        self.max_response_length, self.fields = max_response_length, (*FIELDS, *fields)

    def read(self, batch: KVBatchMeta) -> ReadBatch:
        """Read the rows of `batch`, without padding rows, ordered by index in the data set and then by rollout.

        verl names a row "<prompt>_<rollout>_<output>", with a new prompt name each time a problem is sampled.
        `log_probs` and `entropy` come from the pass for the old log-probs, and are None in validation, which has none.
        """
        keys = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]
        recorded = [name for name in RECORDED if name in (batch.fields or ())]
        data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=[*self.fields, *recorded])
        places = _rows(data, "index")
        order = sorted(range(len(keys)), key=lambda row: (_number(places[row]), *split_key(keys[row])))
        keys = [keys[row] for row in order]
        uids = [split_key(key)[0] for key in keys]
        columns = {name: _rows(data, name) for name in data.keys()}  # noqa: SIM118  (a TensorDict iterates over rows)
        rows = {name: [column[row] for row in order] for name, column in columns.items()}
        groups = number_groups(uids)
        padded = {name: _padded([row.float() for row in rows[name]], 0.0) for name in recorded}
        lengths = [len(row) for row in rows["responses"]]
        rollouts = self.rollouts(
            [_prompt(rows, row, uids[row]) for row in first_rows(groups)],
            groups,
            _padded(rows["responses"], self.tokenizer.pad_token_id or 0),
            _padded(rows["response_mask"], 0).bool(),
            torch.tensor(lengths),
            self.max_response_length,
            log_probs=padded.get("old_log_probs"),
            entropy=padded.get("entropy"),
            scores=[score_parts(_plain(extra)) for extra in rows["extra_fields"]],
        )
        return ReadBatch(keys, lengths, rollouts, padded.get("advantages"))


def _prompt(rows: dict[str, list[Any]], row: int, uid: str) -> PromptRecord:
    """The prompt of a row. Only sets that the adapter wrote have the problem's uid and question, in `extra_info`."""
    extra, truth = (_plain(rows[name][row]) or {} if name in rows else {} for name in ("extra_info", "reward_model"))
    problem = Problem(str(extra.get(UID, uid)), str(extra.get(QUESTION, "")), str(truth.get("ground_truth", "")))
    return PromptRecord(problem, rows["prompts"][row])


def split_key(key: str) -> tuple[str, int, int]:
    """Split verl's name of a row into (prompt, rollout, output)."""
    uid, rollout, output = key.rsplit("_", 2)
    return uid, int(rollout), int(output)


def score_parts(extra: dict[str, Any]) -> dict[str, float]:
    """Parts of the reward of one row, "overall" and "accuracy" first, from verl's `extra_fields`.

    Raises:
        UserError: the reward function returned no "acc", by which the echo term tells correct answers.
    """
    info = dict(extra.get("reward_extra_info") or {})
    accuracy = info.pop("acc", info.pop("accuracy", None))
    if accuracy is None:
        raise UserError(
            'the reward function: expected {"score": ..., "acc": ...}, with acc = 1 for a correct answer and 0 '
            f"for others, which EchoRL needs; got {', '.join(info) or 'nothing'}."
        )
    overall = float(info.pop("score", accuracy))
    others = {name: float(value) for name, value in info.items() if isinstance(value, (int, float))}
    return {"overall": overall, "accuracy": float(accuracy), **others}


def _rows(data: TensorDict, name: str) -> list[Any]:
    """A column as a list of rows."""
    column = data[name]
    if isinstance(column, Tensor):
        return list(column.unbind(0))
    return list(column.tolist() if hasattr(column, "tolist") else column)


def _plain(value: Any) -> Any:
    """Unwrap a value that tensordict has wrapped."""
    return getattr(value, "data", value) if not isinstance(value, (dict, list, Tensor)) else value


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _padded(rows: list[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
