"""From a batch in verl's TransferQueue to the project's own: what was asked, what was written, what was recorded."""

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

    keys: their names in the queue. lengths: tokens of each response, those that the policy did not write included.
    rollouts: graded. advantages: (B, T), None before they are worked out.
    """

    keys: list[str]
    lengths: list[int]
    rollouts: RolloutBatch
    advantages: Tensor | None


class BatchReader(RolloutReader):
    """Reads batches. fields: further columns, `extra_info` where the problem sets are ours (`datasets`)."""

    def __init__(self, tokenizer: PreTrainedTokenizer, max_response_length: int, fields: tuple[str, ...] = ()) -> None:
        super().__init__(tokenizer)
        self.max_response_length, self.fields = max_response_length, (*FIELDS, *fields)

    def read(self, batch: KVBatchMeta) -> ReadBatch:
        """The rows of `batch` without the ones that only pad it, ordered by place in the data set, then by rollout.

        verl names a row "<prompt>_<rollout>_<output>", with a new name for a prompt each time that it is drawn.
        `log_probs` and `entropy` are those of the pass that gave the old log-probs, None where it has not run (in
        validation).
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
    """The prompt of a row. Only `extra_info` of our own sets names its problem; the question is known there alone."""
    extra, truth = (_plain(rows[name][row]) or {} if name in rows else {} for name in ("extra_info", "reward_model"))
    problem = Problem(str(extra.get(UID, uid)), str(extra.get(QUESTION, "")), str(truth.get("ground_truth", "")))
    return PromptRecord(problem, rows["prompts"][row])


def split_key(key: str) -> tuple[str, int, int]:
    """(prompt, rollout, output) of verl's name for a row."""
    uid, rollout, output = key.rsplit("_", 2)
    return uid, int(rollout), int(output)


def score_parts(extra: dict[str, Any]) -> dict[str, float]:
    """Parts of the reward of one row, "overall" and "accuracy" first, from verl's `extra_fields`.

    Raises UserError where the reward function gave no `acc`: the echo term has to know which answers are right.
    """
    info = dict(extra.get("reward_extra_info") or {})
    accuracy = info.pop("acc", info.pop("accuracy", None))
    if accuracy is None:
        raise UserError(
            f'the reward function returns no "acc" (found {", ".join(info) or "nothing"}): EchoRL has to know which '
            'answers are right. Return {"score": ..., "acc": ...} (1 right, 0 wrong).'
        )
    overall = float(info.pop("score", accuracy))
    others = {name: float(value) for name, value in info.items() if isinstance(value, (int, float))}
    return {"overall": overall, "accuracy": float(accuracy), **others}


def _rows(data: TensorDict, name: str) -> list[Any]:
    """A column as a list of rows: of a ragged tensor its parts, of anything else its items."""
    column = data[name]
    if isinstance(column, Tensor):
        return list(column.unbind(0))
    return list(column.tolist() if hasattr(column, "tolist") else column)


def _plain(value: Any) -> Any:
    """What tensordict has wrapped."""
    return getattr(value, "data", value) if not isinstance(value, (dict, list, Tensor)) else value


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _padded(rows: list[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
