"""AdamW and its learning-rate schedule."""

from __future__ import annotations

import math

import torch

from echorl_vl.config import OptimConfig
from echorl_vl.errors import UserError


def learning_rate(config: OptimConfig, step: int, total_steps: int) -> float:
    """Learning rate of training step `step`, counted from 0; all of its optimizer steps use it.

    As in EasyR1: a linear warm-up that starts at 0, then a constant rate, or linear or cosine decay to
    `min_lr_ratio * lr` at the end.
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
    """Makes AdamW over the trainable parameters; fused on a GPU.

    Raises:
        UserError: no parameter is trainable, or one has a dtype in which its updates would round to zero.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise UserError("the model has no trainable parameter: check worker.actor.model (lora, freeze_vision_tower)")
    if half := next((parameter.dtype for parameter in trained if parameter.dtype != torch.float32), None):
        raise UserError(f"weights in {half} can't be trained: the updates of RL round to zero; expected float32")
    fused = trained[0].device.type == "cuda"
    return torch.optim.AdamW(
        trained, lr=config.lr, betas=tuple(config.betas), weight_decay=config.weight_decay, fused=fused
    )
