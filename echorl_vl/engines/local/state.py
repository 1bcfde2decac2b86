"""What a checkpoint holds, and how a run resumes from it.

    actor/huggingface/     the policy as transformers' from_pretrained loads it (LoRA merged in)
    actor/lora_adapter/    under LoRA: the adapter as peft loads it
    training_state.pt      optimizer, counters, KL weight, and how far the data have been read

Random numbers and the order of problems are functions of the seed and of these counters, so they need no place here.
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
    """Fills the folder of a checkpoint. `model_only` leaves out what going on would need.

    Args:
        progress: counters of the trainer: batches taken, and the state of the rollout strategy.
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
    """The configuration that loads the policy of `checkpoint`: the same but for the model's path.

    Under LoRA the base model stays, and `restore_state` fills the adapter.
    """
    if checkpoint is None or config.worker.actor.model.lora.rank > 0:
        return config
    config = copy.deepcopy(config)
    config.worker.actor.model.model_path = str(checkpoint / MODEL_FOLDER)
    return config


def restore_state(
    checkpoint: Path, policy: Policy, updater: Updater, kl: KLController, model_only: bool = False
) -> dict[str, Any]:
    """Puts optimizer, counters and (under LoRA) adapter weights back; `model_only` the adapter alone.

    Returns the trainer's counters; an older checkpoint has none.

    Raises UserError if the checkpoint holds no training state or that of another model.
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
        raise UserError(f"{checkpoint / STATE_FILE}: not the optimizer state of this model ({error})") from error


def _restore_adapter(path: Path, policy: Policy) -> None:
    from peft import set_peft_model_state_dict

    if not path.is_file():
        raise UserError(f"{path} is missing: the checkpoint was not written by a run with LoRA")
    set_peft_model_state_dict(policy.model, load_file(path))


def _like(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The saved state after a check that its tensors have the shapes of the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, entry in saved["state"].items():
        if index >= len(parameters) or entry["exp_avg"].shape != parameters[index].shape:
            raise ValueError(f"parameter {index} has another shape")
    return saved
