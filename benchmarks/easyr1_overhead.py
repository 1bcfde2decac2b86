"""The overhead of EchoRL in a step of EasyR1: paired steps of plain EasyR1 and of the adapter, in one process on a CPU.

    python benchmarks/easyr1_overhead.py                # needs EasyR1; see docs/easyr1.md

Uses EasyR1's worker (FSDP over gloo, one rank), data set, reward and advantages, and samples with the local engine, as
in a CPU dry run. A step is timed from the prompts to the end of the update. The plain step uses EasyR1's actor, the
other the adapter's: entropies with the old log-probs, mining and its metrics on the driver, the echo term. Both steps
of a pair start from the same weights and sample the same rollouts, in random order. Ray's transport is not included;
the adapter adds two (B, T) float32 tensors to about twenty in the batch.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import statistics
import time
import uuid

os.environ["ECHORL_VL_DRY_RUN"] = "easyr1"

import numpy as np
import torch
from ratios import describe

import echorl_vl.engines
import echorl_vl.engines.easyr1  # noqa: F401 - replaces CUDA by the CPU
from echorl_vl.config import load_config
from echorl_vl.core import make_splitter
from echorl_vl.engines.ray.adjusted import for_dry_run

OVERRIDES = [
    "engine=easyr1",
    "trainer.device=cpu",
    "trainer.n_gpus_per_node=1",
    "worker.actor.micro_batch_size_per_device_for_update=32",
    "worker.actor.micro_batch_size_per_device_for_experience=32",
    "data.rollout_batch_size=8",
    "worker.actor.global_batch_size=8",
    "trainer.max_steps=1000",
]


class Bench:
    """The components of a step, built once."""

    def __init__(self, overrides: list[str]) -> None:
        from torchdata.stateful_dataloader import StatefulDataLoader
        from transformers import AutoConfig
        from verl.utils.dataset import RLHFDataset, collate_fn
        from verl.utils.tokenizer import get_processor, get_tokenizer
        from verl.workers.actor.dp_actor import DataParallelPPOActor
        from verl.workers.reward import AutoRewardManager

        import echorl_vl.generators  # noqa: F401 - registers the generated problems
        from echorl_vl.data.sources import load_problems
        from echorl_vl.engines.easyr1.batches import BatchReader
        from echorl_vl.engines.easyr1.settings import to_easyr1
        from echorl_vl.engines.easyr1.worker import EchoWorker
        from echorl_vl.engines.ray.batches import QUESTION, UID

        self.ours, _ = for_dry_run(load_config("configs/geo3k_tiny.yaml", [*OVERRIDES, *overrides]))
        settings = to_easyr1(self.ours)
        settings.deep_post_init()
        settings.worker.actor.optim.training_steps = 1000
        self.settings = settings
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "DISABLE_WORKER_INIT": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29571"}
        self.worker = EchoWorker(settings.worker, "actor_rollout_ref")
        self.worker.init_model()
        self.worker.prepare_rollout_engine()
        actor = self.worker.actor
        self.actors = {
            True: actor,
            False: DataParallelPPOActor(actor.config, actor.actor_module, actor.actor_optimizer),
        }
        self.start = copy.deepcopy(actor.actor_module.state_dict())
        path = settings.worker.actor.model.model_path
        tokenizer, processor = get_tokenizer(path), get_processor(path)
        self.reward = AutoRewardManager(settings.worker.reward, tokenizer)
        self.reader = BatchReader(tokenizer, AutoConfig.from_pretrained(path))
        self.splitter = make_splitter("newline", tokenizer)
        problems = load_problems("generated/geometry3k@train")
        rows = [
            {"problem": problem.question, "answer": problem.answer, "images": [{"bytes": problem.images[0]}]}
            | {UID: problem.uid, QUESTION: problem.question}
            for problem in problems[:256]
        ]
        data = settings.data
        dataset = RLHFDataset.__new__(RLHFDataset)
        dataset.__dict__ |= {
            "tokenizer": tokenizer, "processor": processor, "dataset": rows, "prompt_key": "problem",
            "answer_key": "answer", "image_key": "images", "video_key": "videos", "image_dir": None, "video_fps": 2.0,
            "max_prompt_length": data.max_prompt_length, "truncation": "right", "format_prompt": None,
            "min_pixels": data.min_pixels, "max_pixels": data.max_pixels,
        }  # fmt: skip
        loader = StatefulDataLoader(dataset, batch_size=data.rollout_batch_size, num_workers=0, collate_fn=collate_fn)
        self.batches = list(loader)

    def step(self, echo: bool, number: int) -> tuple[float, float]:
        """Run one step from the initial weights; returns wall-clock and CPU seconds."""
        from verl.protocol import DataProto
        from verl.trainer.ray_trainer import compute_advantage
        from verl.workers.fsdp_workers import FSDPWorker

        from echorl_vl.engines.easyr1.actor import CLIPS, COEF, WEIGHTS
        from echorl_vl.engines.train_batch import batch_metrics, mine_clips
        from echorl_vl.types import TrainBatch

        worker, data = self.worker, self.settings.data
        worker.actor = self.actors[echo]
        worker.actor.actor_module.load_state_dict(self.start)
        worker.rollout.inference_engine.sampler.calls = number
        started, cpu = time.perf_counter(), time.process_time()
        meta = {"min_pixels": data.min_pixels, "max_pixels": data.max_pixels, "video_fps": data.video_fps}
        batch = DataProto.from_single_dict(dict(self.batches[number % len(self.batches)]), meta_info=meta)
        batch.non_tensor_batch["uid"] = np.array([str(uuid.uuid4()) for _ in range(len(batch))], dtype=object)
        prompts = batch.pop(
            batch_keys=["input_ids", "attention_mask", "position_ids"],
            non_tensor_batch_keys=["raw_prompt_ids", "multi_modal_data"],
            meta_info_keys=list(meta),
        )
        rollouts = worker.generate_sequences(prompts)
        batch = batch.repeat(repeat_times=self.settings.worker.rollout.n, interleave=True).union(rollouts)
        batch.meta_info["global_token_num"] = batch.batch["attention_mask"].sum(-1).tolist()
        rewards, parts = self.reward.compute_reward(batch)
        old = worker.compute_log_probs(batch) if echo else FSDPWorker.compute_log_probs(worker, batch)
        batch = batch.union(old)
        batch.batch["token_level_scores"] = batch.batch["token_level_rewards"] = rewards
        batch = compute_advantage(batch, "grpo")
        if echo:
            made = self.reader.read(batch)
            names = ("overall", "accuracy")
            made.scores = [dict(zip(names, row, strict=True)) for row in zip(*(parts[n] for n in names), strict=True)]
            train_batch = TrainBatch.from_rollouts(made, batch.batch["advantages"], self.ours.echo)
            train_batch = mine_clips(train_batch, self.ours.echo, self.splitter, number)
            batch.batch[WEIGHTS] = train_batch.clips.token_weights
            batch.batch[CLIPS] = train_batch.clips.per_row
            batch.meta_info[COEF] = self.ours.echo.coef
            batch_metrics(train_batch, self.ours.echo)
        worker.update_actor(batch)
        return time.perf_counter() - started, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bench = Bench(options.overrides)
    ratios, cpu_ratios, base = [], [], []
    for pair in range(-2, options.pairs):  # two pairs to warm up
        found = {echo: bench.step(echo, pair + 2) for echo in random.Random(pair).sample((False, True), 2)}
        if pair >= 0:
            ratios.append(found[True][0] / found[False][0])
            cpu_ratios.append(found[True][1] / found[False][1])
            base.append(found[False][0])
    print(f"{options.pairs} pairs, {options.threads} threads, {statistics.median(base):.2f} s per step of plain EasyR1")
    for name, values in (("seconds", ratios), ("CPU seconds", cpu_ratios)):
        print(f"{name} with / without EchoRL: {describe(values)}")


if __name__ == "__main__":
    main()
