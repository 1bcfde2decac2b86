"""One rank of verl's FSDP2 worker, without Ray: `python verl_ranks.py JOB RANK WORLD PORT`.

Reads a batch and a list of cases from the folder JOB, runs the update of each case without changing the weights, and
writes `result_WORLD_RANK.pt`: case name -> gradients of each optimizer step over all ranks, and verl's metrics.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from ray_runs import rank_environment
from ray_runs import rows_of_rank as order_of_rank

from echorl_vl.engines.verl.dry_run import ENVIRONMENT
from echorl_vl.engines.verl.dry_run.install import install


def main(job: Path, rank: int, world: int, port: str) -> None:
    os.environ |= ENVIRONMENT | rank_environment(rank, world, port) | {"WG_BACKEND": "ray"}
    torch.set_num_threads(1)
    install()
    from verl.workers.engine_workers import ActorRolloutRefWorker

    from echorl_vl.config import load_config
    from echorl_vl.engines.ray.adjusted import for_dry_run
    from echorl_vl.engines.verl.launch import compose_settings
    from echorl_vl.engines.verl.worker import EchoWorker
    from echorl_vl.outputs.run_folder import RunFolder

    saved = torch.load(job / "batch.pt", weights_only=False)
    config, _ = for_dry_run(load_config(saved["config"], saved["overrides"]))
    settings = compose_settings(config, RunFolder.attach(job)).actor_rollout_ref
    workers = {}
    for name, cls in (("echo", EchoWorker), ("plain", ActorRolloutRefWorker)):
        worker = cls(settings, "actor")
        worker.init_model()
        workers[name] = worker.actor
    results = {}
    for case in saved["cases"]:
        results[case["name"]] = run_case(workers[case.get("worker", "echo")], saved, case, rank, world)
    for name, worker in workers.items():
        results[f"{name}, a real step"] = real_step(worker, saved, rank, world)
    torch.save(results, job / f"result_{world}_{rank}.pt")


def run_case(worker, saved: dict, case: dict, rank: int, world: int) -> dict:
    """Gradients and metrics of an update without optimizer steps; log-probs and entropies of the old pass."""
    set_actor(worker, case.get("actor", {}))
    gradients: list[dict] = []
    optimizer = worker.engine.optimizer
    step = optimizer.step
    optimizer.step = lambda: gradients.append(full_gradients(worker.engine.module))
    try:
        output = worker.train_mini_batch(rows_of_rank(saved, case, rank, world))
    finally:
        optimizer.step = step
    from verl.utils import tensordict_utils
    from verl.utils.metric import reduce_metrics
    from verl.workers.utils.padding import response_from_nested

    metrics = reduce_metrics(tensordict_utils.get(output, "metrics"))
    data = rows_of_rank(saved, case | {"coef": 0.0}, rank, world)
    mask = data["response_mask"]
    tensordict_utils.assign_non_tensor(data, calculate_entropy=True, compute_loss=False)
    old = worker.infer_batch(data)
    return {
        "gradients": gradients,
        "metrics": {name: float(value) for name, value in metrics.items()},
        "log_probs": list(response_from_nested(old["log_probs"], mask).unbind()),
        "entropies": list(response_from_nested(old["entropy"], mask).unbind()),
    }


def set_actor(worker, changes: dict) -> None:
    """Settings of verl's loss: defaults and `changes`."""
    loss = worker.loss_fn.host if hasattr(worker.loss_fn, "host") else worker.loss_fn
    defaults = {"entropy_coeff": 0.0, "loss_agg_mode": "token-mean", "loss_scale_factor": None, "use_kl_loss": False}
    for name, value in (defaults | changes).items():
        object.__setattr__(loss.keywords["config"], name, value)


def real_step(worker, saved: dict, rank: int, world: int) -> dict:
    """The weights after an update without a coefficient, and its metrics."""
    from verl.utils import tensordict_utils

    set_actor(worker, {})
    case = {"name": "", "coef": 0.0, "padded": False, "dynamic": False, "micro": 8}
    output = worker.train_mini_batch(rows_of_rank(saved, case, rank, world))
    weights = {name: full(tensor).clone() for name, tensor in worker.engine.module.state_dict().items()}
    return {"weights": weights, "metrics": tensordict_utils.get(output, "metrics")}


def rows_of_rank(saved: dict, case: dict, rank: int, world: int):
    """The rows of this rank, such that every optimizer step has the same rows for any `world`."""
    from verl.utils import tensordict_utils

    rows, steps = saved["rows"], saved["optimizer_steps"]
    order = order_of_rank(len(rows), steps, rank, world, case.get("shuffled", False)).tolist()
    names = [name for name in rows[0] if case["coef"] or name != "token_weights"]
    columns = {name: [rows[row][name] for row in order] for name in names}
    columns["advantages"] = [part * case.get("advantage_scale", 1.0) for part in columns["advantages"]]
    for name, column in case.get("columns", {}).items() if case["coef"] else ():
        columns[name] = [column[row, : len(rows[row]["token_weights"])] for row in order]
    columns = {
        name: torch.nested.as_nested_tensor([part.clone() for part in parts], layout=torch.jagged)
        for name, parts in columns.items()
    }
    size = len(rows) // steps
    extra = {
        "calculate_entropy": bool(case.get("actor", {}).get("entropy_coeff")),
        "global_batch_size": size,
        "mini_batch_size": size,
        "epochs": case.get("epochs", 1),
        "seed": 1,
        "dataloader_kwargs": {"shuffle": False},
        "temperature": saved["temperature"],
        "use_remove_padding": not case["padded"],
        "use_dynamic_bsz": case["dynamic"],
        "micro_batch_size_per_gpu": case["micro"],
        "max_token_len_per_gpu": case["micro"] * saved["longest"],
    }
    if case["coef"]:
        extra |= {"echo_coef": case["coef"], "echo_prompts": saved["prompts"] // steps}
    return tensordict_utils.get_tensordict(columns, extra)


def full_gradients(module) -> dict[str, torch.Tensor]:
    return {name: full(p.grad).clone() for name, p in module.named_parameters() if p.grad is not None}


def full(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
