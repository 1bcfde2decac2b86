"""Writes the state of a run into a checkpoint, and restores it.

    actor/huggingface/     the policy, for transformers' from_pretrained (LoRA merged in)
    actor/lora_adapter/    with LoRA: the adapter, for peft
    training_state.pt      optimizer, counters, KL weight, and the position in the data

Random numbers and the order of problems are functions of the seed and the counters, so they are not saved.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from echorl_vl.config import Config
from echorl_vl.engines.local.checkpoint import MODEL_FOLDER, STATE_FILE, load_training_state, save_training_state
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.reference import KLController
from echorl_vl.engines.local.update import Updater
from echorl_vl.errors import UserError
from echorl_vl.models.lora import merged

ADAPTER = Path("actor/lora_adapter")


def write_state(
    folder: Path, policy: Policy, updater: Updater, kl: KLController, progress: dict[str, Any], model_only: bool
) -> None:
    """Writes the files of a checkpoint.

    Args:
        folder: the empty folder of the checkpoint.
        policy: the policy.
        updater: has the optimizer and its counters.
        kl: has the weight of the KL.
        progress: counters of the trainer, and the state of the rollout strategy.
        model_only: leaves out the training state.
    """
    model = policy.model
    if policy.network is not policy.model:
        model.save_pretrained(folder / ADAPTER)
        model = merged(model)
    model.save_pretrained(folder / MODEL_FOLDER)
    (policy.processor or policy.tokenizer).save_pretrained(folder / MODEL_FOLDER)
    if not model_only:
        state = {
            "optimizer": updater.optimizer.state_dict(),
            "optimizer_steps": updater.steps,
            "bad_steps": updater.bad_steps,
            "kl_coef": kl.coef,
            "progress": progress,
        }
        save_training_state(folder / STATE_FILE, state)


def starting_model(config: Config, checkpoint: Path | None) -> Config:
    """A configuration whose model path is that of the checkpoint's policy.

    With LoRA the path remains that of the base model, and `restore_state` loads the adapter.
    """
    if checkpoint is None or config.worker.actor.model.lora.rank > 0:
        return config
    config = copy.deepcopy(config)
    config.worker.actor.model.model_path = str(checkpoint / MODEL_FOLDER)
    return config


def restore_state(
    checkpoint: Path, policy: Policy, updater: Updater, kl: KLController, model_only: bool = False
) -> dict[str, Any]:
    """Restores optimizer, counters and, with LoRA, the adapter; with `model_only` the adapter alone.

    Returns:
        The trainer's counters; empty for checkpoints of older versions.

    Raises:
        UserError: the checkpoint has no training state, or that of another model.
    """
    if policy.network is not policy.model:
        _restore_adapter(checkpoint / ADAPTER / "adapter_model.safetensors", policy)
    if model_only:
        return {}
    state = load_training_state(checkpoint / STATE_FILE)
    try:
        updater.optimizer.load_state_dict(_like(state["optimizer"], updater.optimizer))
        updater.steps, updater.bad_steps, kl.coef = state["optimizer_steps"], state["bad_steps"], state["kl_coef"]
        return dict(state.get("progress", {}))
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{checkpoint / STATE_FILE}: the optimizer state belongs to another model ({error})") from error


def _restore_adapter(path: Path, policy: Policy) -> None:
    from peft import set_peft_model_state_dict

    if not path.is_file():
        raise UserError(f"{path} is missing: the checkpoint was not written by a run with LoRA")
    set_peft_model_state_dict(policy.model, load_file(path))


def _like(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Checks that the saved tensors have the shapes of the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, entry in saved["state"].items():
        if index >= len(parameters) or entry["exp_avg"].shape != parameters[index].shape:
            raise ValueError(f"parameter {index} has a different shape")
    return saved
