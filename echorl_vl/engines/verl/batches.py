"""From a batch in verl's TransferQueue to the project's own: what was asked, what was written, what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta
from transformers import PreTrainedTokenizer

from echorl_vl.errors import UserError
from echorl_vl.models.tokens import VisualTokens, special_token_ids, text_mask
from echorl_vl.types import Problem, RolloutBatch

FIELDS = ("prompts", "responses", "response_mask", "extra_fields", "reward_model", "raw_prompt", "index")
RECORDED = ("old_log_probs", "entropy", "advantages")


@dataclass(frozen=True)
class PromptRecord:
    """A prompt as verl keeps it: token ids (L,), and the problem as far as the batch tells."""

    problem: Problem
    input_ids: Tensor


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


class BatchReader:
    """Reads batches; built once per tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizer, max_response_length: int):
        self.tokenizer, self.max_response_length = tokenizer, max_response_length
        self.visual = VisualTokens.find(None, tokenizer)
        self.special_ids = special_token_ids(tokenizer)

    def read(self, batch: KVBatchMeta) -> ReadBatch:
        """The rows of `batch` without the ones that only pad it, ordered by place in the data set, then by rollout.

        verl names a row "<prompt>_<rollout>_<output>", with a new name for a prompt each time that it is drawn.
        `log_probs` and `entropy` are those of the pass that gave the old log-probs, None where it has not run (in
        validation). A response is truncated if it is as long as can be and does not end in a special token.
        """
        keys = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]
        recorded = [name for name in RECORDED if name in (batch.fields or ())]
        wanted = [*FIELDS, *recorded]
        data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=wanted)
        places = _rows(data, "index") if "index" in data else [0] * len(keys)
        order = sorted(range(len(keys)), key=lambda row: (_number(places[row]), *_name(keys[row])))
        keys = [keys[row] for row in order]
        uids = [_name(key)[0] for key in keys]
        numbers: dict[str, int] = {}
        groups = torch.tensor([numbers.setdefault(uid, len(numbers)) for uid in uids])
        responses = [_rows(data, "responses")[row] for row in order]
        tokens = _padded(responses, self.tokenizer.pad_token_id or 0)
        mask = _padded([_rows(data, "response_mask")[row] for row in order], 0).bool()
        columns = {name: _padded([_rows(data, name)[row].float() for row in order], 0.0) for name in recorded}
        last = torch.tensor([int(row[-1]) if len(row) else -1 for row in responses])
        full = torch.tensor([len(row) >= self.max_response_length for row in responses])
        extra = [_plain(_rows(data, "extra_fields")[row]) for row in order]
        rollouts = RolloutBatch(
            prompts=self._prompts(data, order, uids),
            group_ids=groups,
            tokens=tokens,
            response_mask=mask,
            text_mask=text_mask(tokens, mask, self.visual, self.special_ids),
            log_probs=columns.get("old_log_probs"),
            entropy=columns.get("entropy"),
            truncated=full & ~torch.isin(last, self.special_ids),
            texts=self.decode([row.tolist() for row in responses]),
            scores=[score_parts(one) for one in extra],
        )
        lengths = [len(row) for row in responses]
        return ReadBatch(keys, lengths, rollouts, columns.get("advantages"))

    def decode(self, pieces: list[list[int]]) -> list[str]:
        """Texts of token ids, special tokens skipped."""
        return self.tokenizer.batch_decode(pieces, skip_special_tokens=True)

    def _prompts(self, data: TensorDict, order: Sequence[int], uids: Sequence[str]) -> list[PromptRecord]:
        """One prompt a group, from the group's first row."""
        prompts, known = [], set()
        for row, uid in zip(order, uids, strict=True):
            if uid in known:
                continue
            known.add(uid)
            messages = _plain(_rows(data, "raw_prompt")[row]) if "raw_prompt" in data else []
            truth = _plain(_rows(data, "reward_model")[row]) if "reward_model" in data else {}
            question = str(messages[-1]["content"]) if len(messages) else ""
            problem = Problem(uid=uid, question=question, answer=str((truth or {}).get("ground_truth", "")))
            prompts.append(PromptRecord(problem, _rows(data, "prompts")[row]))
        return prompts


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


def _name(key: str) -> tuple[str, int, int]:
    uid, rollout, output = key.rsplit("_", 2)
    return uid, int(rollout), int(output)


def _padded(rows: list[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
