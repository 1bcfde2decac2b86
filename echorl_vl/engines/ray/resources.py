"""Check that the GPUs, the model's files and the memory are enough for a run on Ray."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.engines.ray.adjusted import world_size
from echorl_vl.engines.resources import GIB, Machine, count_parameters


def gpu_issues(config: Config, machine: Machine, engine: str) -> Iterator[ConfigIssue]:
    """GPUs that this machine lacks. `cluster_issue` counts those of all machines."""
    if config.trainer.device == "cpu":
        return
    expected, found = config.trainer.n_gpus_per_node, len(machine.gpus)
    if not found and os.environ.get("RAY_ADDRESS"):
        return  # the head of a cluster may have none; `cluster_issue` counts the others
    if not found:
        yield ConfigIssue(
            (),
            f"engine {engine} needs a GPU, and torch finds none on this machine. Without a GPU, engine=local trains on "
            "the CPU, and trainer.device=cpu starts a dry run with a tiny model.",
        )
    elif found < expected:
        key = "trainer.n_gpus_per_node"
        yield ConfigIssue((key,), f"{key} = {expected} ({config.origin(key)}): this machine has {found}")


def cluster_issue(config: Config, resources: dict[str, float]) -> str | None:
    """Describe the missing GPUs of the Ray cluster; None if there are enough."""
    expected, found = world_size(config), int(resources.get("GPU", 0))
    if found >= expected:
        return None
    return (
        f"the Ray cluster: expected {expected} GPUs (trainer.nnodes = {config.trainer.nnodes} times n_gpus_per_node = "
        f"{config.trainer.n_gpus_per_node}), got {found}. Start Ray on every machine first: `ray start --head` on this "
        "one, `ray start --address=THIS_MACHINE:6379` on the others. Then run the same command again here."
    )


def model_issues(config: Config) -> Iterator[ConfigIssue]:
    """Model folders that lack a config, weights, a tokenizer or, for a vision model, a processor."""
    for role in config.algorithm.trained_roles:
        section = getattr(config.worker, role).model
        key = f"worker.{role}.model.model_path"
        if not section.model_path:
            yield ConfigIssue((key,), f"{key} = null ({config.origin(key)}): expected the folder or hub id of a model")
            continue
        yield from _folder_issues(config, key, section.model_path, section.tokenizer_path or section.model_path)


def _folder_issues(config: Config, key: str, path: str, tokenizer_path: str) -> Iterator[ConfigIssue]:
    folder, tokenizer = Path(path), Path(tokenizer_path)
    if not folder.is_dir():  # a hub id, which transformers checks
        return
    where = f"{key} = {path} ({config.origin(key)})"
    try:
        model = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield ConfigIssue((key,), f"{where}: config.json can't be read ({error})")
        return
    tuned = key.replace("model_path", "lora.target_modules")
    shared = {"lm_head", "embed_tokens"} & {name.strip() for name in get_value(config, tuned).split(",")}
    if get_value(config, key.replace("model_path", "lora.rank")) and model.get("tie_word_embeddings") and shared:
        message = (
            f"{tuned} = {get_value(config, tuned)} ({config.origin(tuned)}): head and embeddings of {path} share one "
            "weight, and neither vLLM nor a merged model can adapt only one of them; expected other modules, or "
            "engine=local"
        )
        yield ConfigIssue((tuned,), message)
    names = ("tokenizer.json", "vocab.json", "tokenizer.model")
    if tokenizer.is_dir() and not any((tokenizer / name).is_file() for name in names):
        yield ConfigIssue((key,), f"{tokenizer}: has no tokenizer; expected one of {', '.join(names)}")
    processors = ("preprocessor_config.json", "processor_config.json")
    folders = {folder, tokenizer} if tokenizer.is_dir() else {folder}  # the driver may read either
    if "vision_config" in model and not all(any((one / name).is_file() for name in processors) for one in folders):
        expected = f"expected {processors[0]} with the weights of a {model.get('model_type')} model"
        yield ConfigIssue((key,), f"{where}: has no processor, which images need; {expected}")
    if not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        yield ConfigIssue((key,), f"{where}: has no weights; expected *.safetensors")


def memory_issues(
    config: Config, machine: Machine, smaller: str, parameters: int | None = None
) -> Iterator[ConfigIssue]:
    """Whether weights, gradients and optimizer state fit into memory: a lower bound, without activations.

    AdamW takes 16 bytes per parameter in float32 (weight, gradient, two moments) and 8 in bfloat16; frozen weights
    under LoRA take 2. They are sharded over the ranks of an FSDP group. The sampler's copy (2 bytes) is sharded over
    the tensor-parallel ranks, and has to fit into `gpu_memory_utilization`.

    Args:
        config: the configuration.
        machine: its GPUs and memory.
        smaller: settings of the engine that reduce memory, see `RayEngine.smaller`.
        parameters: of the model. None: count them.
    """
    model, rollout = config.worker.actor.model, config.worker.rollout
    parameters = count_parameters(model) if parameters is None else parameters
    if parameters is None:
        return
    actor, world = config.worker.actor, world_size(config)
    in_bf16 = actor.optim.strategy == "adamw_bf16" and actor.fsdp.torch_dtype in ("bf16", "bfloat16")
    per_parameter = 2 if model.lora.rank else 8 if in_bf16 else 16
    ranks = world if actor.fsdp.fsdp_size <= 0 else min(world, actor.fsdp.fsdp_size)
    size = f"{model.model_path} has {parameters / 1e9:.2f} billion parameters"
    if config.trainer.device == "cpu":
        needed = parameters * (per_parameter + 4 * world)  # each rank samples from a float32 copy
        if needed > 0.8 * machine.memory:
            message = f"{size}: a CPU dry run needs {needed / GIB:.1f} GiB, and this machine has "
            message += f"{machine.memory / GIB:.1f}; expected a tiny model such as echorl_vl/tiny/model"
            yield ConfigIssue((), message)
        return
    if not machine.gpus:
        return
    smallest = min(machine.gpus)
    needed = 0 if actor.fsdp.enable_cpu_offload else parameters * per_parameter / ranks
    if needed > 0.95 * smallest:
        yield ConfigIssue(
            (),
            f"{size}: weights, gradients and AdamW take {per_parameter} bytes per parameter, {needed / GIB:.0f} GiB on "
            f"each of {ranks} GPUs of {smallest / GIB:.0f} GiB. Use more GPUs (trainer.n_gpus_per_node, "
            f"trainer.nnodes), {smaller}.",
        )
    sampler = parameters * 2 / rollout.tensor_parallel_size
    share = rollout.gpu_memory_utilization * smallest / GIB
    if sampler > share * GIB:
        yield ConfigIssue(
            (),
            f"{size}: vLLM's copy takes {sampler / GIB:.0f} GiB on each GPU, and vLLM may use {share:.0f} GiB "
            f"(worker.rollout.gpu_memory_utilization = {rollout.gpu_memory_utilization}). Raise that share, or "
            "worker.rollout.tensor_parallel_size.",
        )
