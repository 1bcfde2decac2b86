"""Reading verl's queue, dynamic sampling, and scoring."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow  # importing verl takes ten seconds


@pytest.fixture(scope="module")
def tokenizer(verl, text_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(text_model)


@pytest.fixture
def queue(monkeypatch):
    """A fake of verl's queue: key -> row, which `kv_batch_get` reads."""
    import transfer_queue as tq
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    rows: dict[str, dict] = {}

    def kv_batch_get(keys, partition_id, select_fields):
        return list_of_dict_to_tensordict([{name: rows[key][name] for name in select_fields} for key in keys])

    monkeypatch.setattr(tq, "kv_batch_get", kv_batch_get)
    return rows


def row(response: list[int], index: int, accuracy: float, **extra) -> dict:
    tokens = torch.tensor(response)
    return {
        "prompts": torch.tensor([5, 6, 7]),
        "responses": tokens,
        "response_mask": torch.ones(len(tokens), dtype=torch.long),
        "old_log_probs": -torch.arange(1.0, len(tokens) + 1),
        "entropy": torch.arange(1.0, len(tokens) + 1),
        "advantages": torch.full((len(tokens),), accuracy - 0.5),
        "extra_fields": {"reward_extra_info": {"score": accuracy, "acc": accuracy, "format": 1.0} | extra},
        "reward_model": {"ground_truth": str(index)},
        "extra_info": {"index": index, "problem_uid": f"set.jsonl:{index}", "problem_question": f"question {index}"},
        "index": index,
    }


def test_rows_are_read_in_group_order_without_padding(tokenizer, queue):
    from transfer_queue import KVBatchMeta

    from echorl_vl.engines.verl.batches import BatchReader

    end = tokenizer.eos_token_id
    queue |= {
        "b_1_0": row([10, 11, end], 3, 1.0),
        "a_1_0": row([20, 21, 22, 23], 2, 0.0),
        "pad_0_0": row([end], 0, 0.0),
        "b_0_0": row([12], 3, 0.0),
        "a_0_0": row([24, 25, 26, end], 2, 1.0),
    }
    tags = [{"is_padding": key.startswith("pad")} for key in queue]
    batch = KVBatchMeta(
        keys=list(queue), tags=tags, partition_id="train", fields=["entropy", "old_log_probs", "advantages"]
    )
    read = BatchReader(tokenizer, max_response_length=4, fields=("extra_info",)).read(batch)
    assert read.keys == ["a_0_0", "a_1_0", "b_0_0", "b_1_0"] and read.lengths == [4, 4, 1, 3]
    rollouts = read.rollouts
    assert rollouts.group_ids.tolist() == [0, 0, 1, 1]
    assert [prompt.problem.question for prompt in rollouts.prompts] == ["question 2", "question 3"]
    assert [prompt.problem.uid for prompt in rollouts.prompts] == ["set.jsonl:2", "set.jsonl:3"]
    assert [prompt.problem.answer for prompt in rollouts.prompts] == ["2", "3"]
    assert rollouts.response_mask.sum(-1).tolist() == [4, 4, 1, 3]
    assert rollouts.text_mask.sum(-1).tolist() == [3, 4, 1, 2]  # without the ending token
    assert rollouts.truncated.tolist() == [False, True, False, False]
    assert rollouts.entropy[3].tolist() == [1, 2, 3, 0] and rollouts.log_probs[2].tolist() == [-1, 0, 0, 0]
    assert read.advantages[:, 0].tolist() == [0.5, -0.5, -0.5, 0.5]
    assert read.rollouts.scores[0] == {"overall": 1.0, "accuracy": 1.0, "format": 1.0}


def test_columns_are_written_in_the_order_of_the_batch(tokenizer, queue, monkeypatch):
    import transfer_queue as tq
    from transfer_queue import KVBatchMeta

    from echorl_vl.engines.verl.batches import BatchReader
    from echorl_vl.engines.verl.trainer import EchoTrainer

    queue |= {"b_0_0": row([12, 13], 3, 0.0), "pad_0_0": row([9], 0, 0.0), "a_0_0": row([24, 25, 26], 2, 1.0)}
    tags = [{"is_padding": key.startswith("pad")} for key in queue]
    batch = KVBatchMeta(keys=list(queue), tags=tags, partition_id="train", fields=["advantages"])
    read = BatchReader(tokenizer, max_response_length=4).read(batch)
    assert read.keys == ["a_0_0", "b_0_0"]
    assert [prompt.problem.uid for prompt in read.rollouts.prompts] == ["a", "b"]  # the user's own sets have no uids
    put = {}
    monkeypatch.setattr(tq, "kv_batch_put", lambda **given: put.update(given))
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])
    counts = torch.tensor([[2], [1]])
    batch = EchoTrainer._put(batch, read, {"token_weights": weights, "echo_clips": counts})
    assert batch.fields == ["advantages", "token_weights", "echo_clips"]  # workers fetch only these
    assert put["keys"] == ["b_0_0", "pad_0_0", "a_0_0"]
    assert [part.tolist() for part in put["fields"]["token_weights"].unbind()] == [[4, 5], [0], [1, 2, 3]]
    assert [part.tolist() for part in put["fields"]["echo_clips"].unbind()] == [[1], [0], [2]]


def test_reward_function_without_accuracy_is_refused(verl):
    from echorl_vl.engines.verl.batches import score_parts
    from echorl_vl.errors import UserError

    assert score_parts({"reward_extra_info": {"acc": 1}}) == {"overall": 1.0, "accuracy": 1.0}
    with pytest.raises(UserError, match=r'expected {"score": ..., "acc": ...}.*; got score'):
        score_parts({"reward_extra_info": {"score": 0.5}})


@pytest.fixture
def buffer(verl):
    from echorl_vl.engines.verl.sampling import EchoReplayBuffer

    made = EchoReplayBuffer.__new__(EchoReplayBuffer)  # without verl's queue
    made.filter_groups_metric = "acc"
    made.finished_keys, made.partitions = defaultdict(set), defaultdict(dict)
    made._dapo_classification_cache = defaultdict(dict)
    made._kept, made._dropped = set(), set()
    return made


def add_groups(buffer, queue, **groups: list[float]) -> None:
    for uid, accuracies in groups.items():
        buffer.finished_keys["train"].add(uid)
        for number, accuracy in enumerate(accuracies):
            queue[f"{uid}_{number}_0"] = row([1], 0, accuracy)
            buffer.partitions["train"][f"{uid}_{number}_0"] = {}


GROUPS = {"correct": [1.0, 1.0], "incorrect": [0.0, 0.0], "mixed": [0.0, 1.0]}


def test_dynamic_sampling_drops_uniform_groups(buffer, queue):
    add_groups(buffer, queue, **GROUPS)
    uids, counts = buffer._dapo_filtered_keys("train")
    assert uids == {"correct", "incorrect"} and counts == {1.0: 1, 0.0: 1}


def test_dynamic_sampling_for_the_echo_term_keeps_groups_that_all_succeed(buffer, queue):
    buffer.keep = lambda accuracies: min(accuracies) >= 1.0
    add_groups(buffer, queue, **GROUPS)
    for _ in range(2):  # verl calls it repeatedly
        uids, counts = buffer._dapo_filtered_keys("train")
        assert uids == {"incorrect"} and counts == {0.0: 1}


def test_dynamic_sampling_stops_after_too_many_dropped_groups(buffer, queue):
    from echorl_vl.errors import UserError

    buffer.max_groups = 2
    add_groups(buffer, queue, **GROUPS)
    buffer._dapo_filtered_keys("train")
    add_groups(buffer, queue, another=[0.0, 0.0])
    with pytest.raises(UserError, match=r"dropped 3 groups without filling a batch.*trainer\.max_try_make_batch"):
        buffer._dapo_filtered_keys("train")


def test_dynamic_sampling_does_not_hide_a_broken_reward_function(buffer, queue):
    from echorl_vl.engines.verl.rewards import ERROR
    from echorl_vl.errors import UserError

    add_groups(buffer, queue, broken=[0.0, 0.0])
    for key in ("broken_0_0", "broken_1_0"):
        queue[key]["extra_fields"]["reward_extra_info"][ERROR] = "reward.py: division by zero"
    with pytest.raises(UserError, match="division by zero"):
        buffer._dapo_filtered_keys("train")


def test_missing_rollouts_end_the_run(buffer, queue, monkeypatch):
    from transfer_queue import KVBatchMeta
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    from echorl_vl.errors import UserError

    add_groups(buffer, queue, mixed=[0.0, 1.0])
    keys = list(queue)
    sampled = []
    buffer.expected, buffer.on_sample = {"train": 2}, lambda partition, batch: sampled.append(batch.keys)
    monkeypatch.setattr(
        ReplayBuffer,
        "sample",
        lambda self, *_: (KVBatchMeta(keys=keys, tags=[{}] * len(keys), partition_id="train"), {}),
    )
    assert buffer.sample(1, "train", 1)[0].keys == keys and sampled == [keys]
    keys = keys[:1]
    with pytest.raises(UserError, match="1 of 2 rollouts failed"):
        buffer.sample(1, "train", 1)


class Batch(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.keys)


def test_unscored_answers_are_counted_and_a_step_of_them_stops(buffer, queue, monkeypatch, caplog):
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    from echorl_vl.engines.verl.rewards import LOST
    from echorl_vl.errors import UserError

    queue |= {"a_0_0": row([1], 0, 0.0, **{LOST: "timeout"}), "a_1_0": row([1], 0, 1.0)}
    monkeypatch.setattr(ReplayBuffer, "sample", lambda self, *_: (Batch(keys=list(queue)), {"theirs": 1.0}))
    buffer.reward, buffer.time_limit = "mine.py:f", 3.0
    _, metrics = buffer.sample(7, "train", 1)
    assert metrics == {"theirs": 1.0, "reward/timeouts": 1.0, "reward/crashes": 0.0, "reward/errors": 0.0}
    assert "step 7 (train): answers not scored: 1 timed out" in caplog.text
    queue["a_1_0"] = row([1], 0, 0.0, **{LOST: "timeout"})
    with pytest.raises(UserError, match=r"mine\.py:f: each of the 2 answers .*time_limit = 3 s"):
        buffer.sample(8, "train", 1)


def test_dynamic_sampling_stops_if_no_answer_is_scored(buffer, queue):
    from echorl_vl.engines.verl.rewards import LOST
    from echorl_vl.errors import UserError

    add_groups(buffer, queue, one=[0.0, 0.0], other=[0.0, 0.0])
    for entry in queue.values():
        entry["extra_fields"]["reward_extra_info"][LOST] = "timeout"
    with pytest.raises(UserError, match="each of the 4 answers"):
        buffer._dapo_filtered_keys("train")


REWARD = """
import time

def compute_score(rows):
    scores = []
    for row in rows:
        if "hang" in row["response"]:
            time.sleep(60)
        if "break" in row["response"]:
            raise ValueError("broken")
        correct = float(row["response"].strip() == row["ground_truth"])
        scores.append({"overall": 0.9 * correct, "accuracy": correct, "length": float(row["response_length"])})
    return scores
"""


def test_answers_are_graded_under_a_time_limit(tokenizer, tmp_path):
    from verl.protocol import DataProto

    from echorl_vl.engines.verl.rewards import ERROR, LOST, EchoRewardManager

    path = tmp_path / "reward.py"
    path.write_text(REWARD)
    settings = SimpleNamespace(function=f"{path}:compute_score", kwargs={}, time_limit=1.0, skip_special_tokens=True)

    async def grade(*responses: str) -> list[dict]:
        manager = EchoRewardManager(SimpleNamespace(echorl=SimpleNamespace(reward=settings)), tokenizer, None)
        try:
            return await asyncio.gather(*(manager.run_single(answer(response)) for response in responses))
        finally:
            manager._manager.close()

    def answer(response: str) -> DataProto:
        ids = torch.tensor([tokenizer(response)["input_ids"] + [tokenizer.eos_token_id]])
        mask = torch.cat([torch.ones(1, 3), torch.ones_like(ids)], 1)
        truth = np.array([{"ground_truth": "42"}], dtype=object)
        return DataProto.from_dict({"responses": ids, "attention_mask": mask}, {"reward_model": truth})

    correct, incorrect, hung, broken = asyncio.run(grade("42", "43", "hang", "break"))
    assert correct["reward_score"] == pytest.approx(0.9)
    assert correct["reward_extra_info"] == {"score": pytest.approx(0.9), "acc": 1.0, "length": 3.0}
    assert incorrect["reward_score"] == 0.0 and hung["reward_score"] == 0.0 and hung["reward_extra_info"]["acc"] == 0.0
    assert LOST not in incorrect["reward_extra_info"] and hung["reward_extra_info"][LOST] == "timeout"
    assert "broken" in broken["reward_extra_info"][ERROR]
