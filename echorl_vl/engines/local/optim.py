"""AdamW and its learning rate."""

from __future__ import annotations

import math

import torch

from echorl_vl.config import OptimConfig
from echorl_vl.errors import UserError


def learning_rate(config: OptimConfig, step: int, total_steps: int) -> float:
    """Learning rate of training step `step` (0 is the first) of `total_steps`; all its optimizer steps have it.

    As in EasyR1: a linear rise over the warm-up, whose first step has the rate 0, then constant, or linear or cosine
    decay to `min_lr_ratio * lr` at the end.
    """
    warmup = config.lr_warmup_steps
    if warmup is None:
        warmup = int(config.lr_warmup_ratio * total_steps)
    if step < warmup:
        return config.lr * step / warmup
    if config.lr_scheduler_type == "constant":
        return config.lr
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    least = config.min_lr_ratio or 0.0
    shape = 1 - progress if config.lr_scheduler_type == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * (least + (1 - least) * shape)


def make_optimizer(model: torch.nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; on a GPU in its fused form.

    Raises UserError if nothing is trained, or if something is in a dtype in which its steps would be rounded away.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise UserError("no parameter of the model is trained: check worker.actor.model (lora, freeze_vision_tower)")
    if half := next((parameter.dtype for parameter in trained if parameter.dtype != torch.float32), None):
        raise UserError(
            f"weights of {half} can't be trained: steps of RL are lost in their last digit; expected float32"
        )
    fused = trained[0].device.type == "cuda"
    return torch.optim.AdamW(
        trained, lr=config.lr, betas=tuple(config.betas), weight_decay=config.weight_decay, fused=fused
    )
