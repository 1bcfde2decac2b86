"""One rank of EasyR1's FSDP worker, without Ray: `python ranks.py JOB RANK WORLD PORT`.

Reads a batch and a list of cases from the folder JOB, runs the update of each case without changing the weights, and
writes `result_WORLD_RANK.pt`: case name -> gradients of each optimizer step over all ranks, and this rank's metrics.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

os.environ["ECHORL_VL_DRY_RUN"] = "easyr1"

import numpy as np
import torch
from ray_runs import rank_environment
from ray_runs import rows_of_rank as order_of_rank
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

import echorl_vl.engines
import echorl_vl.engines.easyr1  # noqa: F401  (replaces CUDA by the CPU)
from echorl_vl.config import load_config
from echorl_vl.core import EchoConfig
from echorl_vl.engines.ray.adjusted import for_dry_run


def main(job: Path, rank: int, world: int, port: str) -> None:
    os.environ |= rank_environment(rank, world, port)
    torch.set_num_threads(1)
    from echorl_vl.engines.easyr1.settings import to_easyr1
    from echorl_vl.engines.easyr1.worker import EchoWorker

    saved = torch.load(job / "batch.pt", weights_only=False)
    config, _ = for_dry_run(load_config(saved["config"], saved["overrides"]))
    settings = to_easyr1(config)
    settings.deep_post_init()
    settings.worker.actor.optim.training_steps = 10
    settings.worker.actor.fsdp.use_orig_params = True  # so that gradients can be seen by name
    settings.worker.actor.ulysses_size = saved.get("ulysses", 1)
    if saved.get("ulysses", 1) > 1:
        share_sequences()
    worker = EchoWorker(settings.worker, "actor")
    worker.init_model()
    results = {}
    for case in saved["cases"]:
        with worker.ulysses_sharding_manager:
            results[case["name"]] = run_case(worker.actor, saved, case, rank, world)
    torch.save(results, job / f"result_{world}_{rank}.pt")


def run_case(actor, saved: dict, case: dict, rank: int, world: int) -> dict:
    actor.config.padding_free = case["padding_free"]
    actor.config.dynamic_batching = case["dynamic_batching"]
    actor.config.micro_batch_size_per_device_for_update = case["micro"]
    actor.config.micro_batch_size_per_device_for_experience = case["micro"]
    actor.config.ppo_epochs = case.get("epochs", 1)
    actor.config.entropy_coef = case.get("entropy_coef", 0.0)
    actor.config.echo = EchoConfig(**case.get("echo", {}))
    actor.config.algorithm = case.get("algorithm", "grpo")
    actor.config.loss_avg_mode = case.get("loss_avg_mode", "token")
    actor.config.use_kl_loss, actor.config.kl_coef = "kl_coef" in case, case.get("kl_coef", 0.0)
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
    """The rows of this rank, such that every optimizer step has the same rows for any `world`."""
    from verl.protocol import DataProto

    steps, sequence_ranks = saved["optimizer_steps"], saved.get("ulysses", 1)
    rank, world = rank // sequence_ranks, world // sequence_ranks  # ranks that share a sequence have the same rows
    order = order_of_rank(len(saved["tensors"]["responses"]), steps, rank, world, case.get("shuffled", False))
    tensors = {name: tensor[order].clone() for name, tensor in saved["tensors"].items()}
    inputs = np.empty(len(order), dtype=object)
    for place, row in enumerate(order.tolist()):
        inputs[place] = saved["multi_modal_inputs"][row] if saved["multi_modal_inputs"] else {}
    meta = {"temperature": saved["temperature"], "echo_coef": case["coef"]}
    if "advantage_scale" in case:
        tensors["advantages"] *= case["advantage_scale"]
    tensors |= {name: column[order].clone() for name, column in case.get("columns", {}).items()}
    if not case["coef"]:
        del tensors["token_weights"], tensors["echo_clips"]
    data = DataProto.from_dict(tensors, {"multi_modal_inputs": inputs}, meta)
    return pickle.loads(pickle.dumps(data)).to("cpu")  # as Ray delivers it: its tensors are locked


def share_sequences() -> None:
    """Replace EasyR1's attention over sequences that are split over ranks, which needs flash-attn.

    As in EasyR1, tokens are exchanged for heads, so that each rank attends over whole sequences, and back.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from verl.utils.ulysses import (
        gather_heads_scatter_seq,
        gather_seq_scatter_heads,
        get_ulysses_sequence_parallel_group,
    )

    def attention(module, query, key, value, attention_mask, scaling=None, position_ids=None, **_):
        group = get_ulysses_sequence_parallel_group()
        parts = [torch.empty_like(position_ids) for _ in range(torch.distributed.get_world_size(group))]
        torch.distributed.all_gather(parts, position_ids.contiguous(), group=group)
        sequence = (torch.cat(parts, -1)[0] == 0).cumsum(0)  # packed: a sequence begins at position 0
        states = [gather_seq_scatter_heads(x.transpose(1, 2), seq_dim=1, head_dim=2) for x in (query, key, value)]
        query, key, value = (x.transpose(1, 2) for x in states)
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
        seen = (sequence[:, None] == sequence[None]) & torch.ones(len(sequence), len(sequence)).tril().bool()
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value, seen, scale=scaling)
        return gather_heads_scatter_seq(output.transpose(1, 2), head_dim=2, seq_dim=1), None

    ALL_ATTENTION_FUNCTIONS["sdpa"] = attention


def full_gradients(module) -> dict[str, torch.Tensor]:
    with FSDP.summon_full_params(module, with_grads=True):
        return {
            name.replace("_fsdp_wrapped_module.", ""): parameter.grad.detach().clone()
            for name, parameter in module.named_parameters()
            if parameter.grad is not None
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
