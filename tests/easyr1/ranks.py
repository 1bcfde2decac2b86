"""One rank of EasyR1's FSDP worker, without Ray: `python ranks.py JOB RANK WORLD PORT`.

Reads a batch and a list of cases from the folder JOB, runs the update of each case without changing the weights, and
writes `result_WORLD_RANK.pt`: case name -> gradients of each optimizer step over all ranks, and this rank's metrics.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["ECHORL_VL_REHEARSAL"] = "1"

import numpy as np
import torch
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

import echorl_vl.engines.easyr1  # noqa: F401  (puts the CPU in the place of CUDA)
from echorl_vl.config import load_config, rehearsed


def main(job: Path, rank: int, world: int, port: str) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "DISABLE_WORKER_INIT": "1",
    }
    torch.set_num_threads(1)
    from echorl_vl.engines.easyr1.settings import to_easyr1
    from echorl_vl.engines.easyr1.worker import EchoWorker

    saved = torch.load(job / "batch.pt", weights_only=False)
    config, _ = rehearsed(load_config(saved["config"], saved["overrides"]))
    settings = to_easyr1(config)
    settings.deep_post_init()
    settings.worker.actor.optim.training_steps = 10
    settings.worker.actor.fsdp.use_orig_params = True  # so that gradients can be seen by name
    worker = EchoWorker(settings.worker, "actor")
    worker.init_model()
    results = {}
    for case in saved["cases"]:
        results[case["name"]] = run_case(worker.actor, saved, case, rank, world)
    torch.save(results, job / f"result_{world}_{rank}.pt")


def run_case(actor, saved: dict, case: dict, rank: int, world: int) -> dict:
    actor.config.padding_free = case["padding_free"]
    actor.config.dynamic_batching = case["dynamic_batching"]
    actor.config.micro_batch_size_per_device_for_update = case["micro"]
    actor.config.micro_batch_size_per_device_for_experience = case["micro"]
    data = rows_of_rank(saved, case, rank, world)
    pair = actor.compute_log_prob(data)
    gradients: list[dict] = []
    step = actor.actor_optimizer.step
    actor.actor_optimizer.step = lambda: gradients.append(full_gradients(actor.actor_module))
    try:
        metrics = actor.update_policy(data)
    finally:
        actor.actor_optimizer.step = step
    return {
        "gradients": gradients,
        "metrics": {name: np.asarray(values, dtype=float) for name, values in metrics.items()},
        "log_probs": pair[..., 0],
        "entropies": pair[..., 1],
    }


def rows_of_rank(saved: dict, case: dict, rank: int, world: int):
    """The rows that EasyR1 would send to this rank if the optimizer steps are to hold the same rows for any `world`."""
    from verl.protocol import DataProto

    steps = saved["optimizer_steps"]
    total = len(saved["tensors"]["responses"])
    order = torch.arange(total).view(steps, world, -1)[:, rank].flatten()
    if case.get("shuffled"):
        parts = order.view(steps, -1)
        order = torch.stack([part[torch.randperm(len(part))] for part in parts]).flatten()
    tensors = {name: tensor[order].clone() for name, tensor in saved["tensors"].items()}
    inputs = np.empty(len(order), dtype=object)
    for place, row in enumerate(order.tolist()):
        inputs[place] = saved["multi_modal_inputs"][row]
    meta = {"temperature": saved["temperature"], "echo_coef": case["coef"]}
    if "advantage_scale" in case:
        tensors["advantages"] *= case["advantage_scale"]
    return DataProto.from_dict(tensors, {"multi_modal_inputs": inputs}, meta)


def full_gradients(module) -> dict[str, torch.Tensor]:
    with FSDP.summon_full_params(module, with_grads=True):
        return {
            name.replace("_fsdp_wrapped_module.", ""): parameter.grad.detach().clone()
            for name, parameter in module.named_parameters()
            if parameter.grad is not None
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
