"""Behaviour of verl that the adapter relies on; a failure says what has changed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ray_runs import expect as _expect

from echorl_vl.engines.verl.hooks import HOST

pytestmark = pytest.mark.slow  # importing verl takes ten seconds


def expect(condition: bool, what: str, found: object = None) -> None:
    _expect(condition, HOST, what, found)


def test_every_hook_exists(verl):
    HOST.check_hooks()


def test_rows_have_names_by_prompt_rollout_and_output_and_their_problem_s_columns(verl, monkeypatch):
    """`batches.split_key` splits the names; `batches.FIELDS` and `extra_info` are columns of each row."""
    from verl.trainer.ppo.v1 import agent_loop_tq
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    from echorl_vl.engines.verl.batches import FIELDS, split_key

    put = {}

    async def kv_batch_put(**given):
        put.update(given)

    async def nothing(*_, **__):
        pass

    monkeypatch.setattr(agent_loop_tq.tq, "async_kv_batch_put", kv_batch_put)
    cls = AgentLoopWorkerTQ.__ray_metadata__.modified_class
    worker = cls.__new__(cls)
    worker._compute_score = worker._compute_teacher_logprobs = nothing
    worker._compute_multi_modal_inputs = lambda *_: {}
    worker._compute_position_ids = lambda ids, *_: torch.arange(ids.shape[1])[None]

    def output() -> SimpleNamespace:
        ids = {"prompt_ids": [1, 2], "response_ids": [3], "extra_fields": {}, "reward_score": None}
        row = {"prompts": torch.tensor([1, 2]), "responses": torch.tensor([3]), "response_mask": torch.ones(1)}
        return SimpleNamespace(**ids, as_dict=lambda: row | {"extra_fields": {}})

    columns = {"uid": "a-b", "session_id": 3, "global_steps": 1, "index": 7, "raw_prompt": [], "reward_model": {}}
    columns["extra_info"] = {"index": 7, "problem_uid": "set:7"}
    asyncio.run(worker._agent_loop_postprocess([output(), output()], False, **columns))
    found = [split_key(key) for key in put["keys"]]
    expect(found == [("a-b", 3, 0), ("a-b", 3, 1)], "a row is named <prompt>_<rollout>_<output>", put["keys"])
    missing = {*FIELDS, "extra_info"} - set(put["fields"].keys())
    expect(not missing, "a row in the queue has the columns of its problem", f"none of {sorted(missing)}")


def test_names_of_prompts_have_no_underscore(verl):
    """`sampling` takes the part before the first underscore as the prompt, like verl's replay buffer."""
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    trainer = PPOTrainerSync.__new__(PPOTrainerSync)
    trainer.train_dataloader_it = iter([{"raw_prompt": np.array([["a"], ["b"]], dtype=object)}])
    uids = list(trainer._fetch_one_gen_batch()["uid"])
    expect(len(set(uids)) == 2, "each prompt has its own name", uids)
    expect(not any("_" in str(uid) for uid in uids), "names of prompts have no underscore", uids)


def test_metrics_are_reduced_by_their_names(verl):
    """`bad_in_row_max` is the maximum over a training step, `skipped_share` the mean."""
    from verl.utils.metric import reduce_metrics

    from echorl_vl.engines.verl.worker import BAD_IN_ROW, SKIPPED

    found = reduce_metrics({BAD_IN_ROW: [1.0, 3.0, 0.0], SKIPPED: [1.0, 1.0, 0.0, 0.0]})
    expect(found[BAD_IN_ROW] == 3.0, f"reduce_metrics takes the maximum of {BAD_IN_ROW}", found)
    expect(found[SKIPPED] == 0.5, f"reduce_metrics takes the mean of names without max and min ({SKIPPED})", found)


def test_summed_metric_is_the_mean_over_ranks_of_sums_over_micro_batches(verl):
    """`echo/loss`: each rank's share is multiplied by their number, so this is L_echo."""
    from verl.utils.metric import AggregationType, Metric

    ranks = [Metric(value=value, aggregation=AggregationType.SUM) for value in (1.0, 3.0)]
    for metric, more in zip(ranks, (5.0, 7.0), strict=True):
        metric.append(more)
    found = Metric.aggregate_dp(ranks)
    expect(found == 8.0, "Metric(SUM) of several ranks is the mean over them of their sums", found)


def test_loop_ends_once_the_current_step_is_the_last(verl, monkeypatch):
    """For the stop file, the trainer sets `total_training_steps` to the current step in `on_step_end`."""
    from omegaconf import OmegaConf
    from verl.trainer.ppo.v1 import trainer_base
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    class Logger:
        def __init__(self, **_):
            pass

        def log(self, data, step):
            logged.append(step)

    logged: list[int] = []
    for name in ("Tracking", "ValidationGenerationsLogger", "DapoFilteredRewardTableLogger"):
        monkeypatch.setattr(trainer_base, name, Logger)
    monkeypatch.setattr(trainer_base.tq, "kv_clear", lambda **_: None)
    monkeypatch.setattr(trainer_base, "SkipManager", SimpleNamespace(init=lambda _: None, set_step=lambda _: None))
    trainer = PPOTrainerSync.__new__(PPOTrainerSync)
    section = {"project_name": "p", "experiment_name": "e", "logger": [], "val_before_train": False}
    section |= {"total_epochs": 9, "save_freq": -1, "test_freq": -1}
    trainer.config = OmegaConf.create({"trainer": section, "global_profiler": {"steps": None}})
    trainer.global_steps, trainer.total_training_steps, trainer.steps_per_epoch = 0, 5, 2
    trainer.step = lambda *_: SimpleNamespace(keys=[], partition_id="train")

    def on_step_end() -> None:
        trainer.total_training_steps = trainer.global_steps

    trainer.on_step_end = on_step_end
    for name in ("_reissue_inflight_prompts", "_start_profiling", "_stop_profiling", "_shutdown_dump_executor",
                 "_compute_metrics", "on_train_begin", "on_train_end", "on_step_begin"):  # fmt: skip
        setattr(trainer, name, lambda *_, **__: None)
    trainer._consume_sync_metrics = dict
    trainer.fit(None)
    expect(logged == [1], "fit ends once total_training_steps is the current step", logged)


def test_sync_is_the_synchronous_trainer(verl):
    """`trainer_mode` is set to "sync" for our trainer, since verl chooses its replay buffer by it."""
    from verl.trainer.ppo.v1 import trainer_base
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    known = trainer_base.TRAINER_REGISTRY
    expect(known.get("sync") is PPOTrainerSync, 'the trainer called "sync" is PPOTrainerSync', sorted(known))
