"""Supervised fine-tuning of the tiny policies."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F

logger = logging.getLogger(__name__)


class Batches(Protocol):
    """A source of training batches."""

    def sample(self, size: int, stage: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Return model inputs, labels (B, L) with -100 outside the target, and the mask (B, L) of monitored digits."""


def cosine(peak: float, steps: int, warmup: int) -> list[float]:
    """Return the learning rate of each step: linear warm-up, then cosine decay to 2 % of the peak."""
    rise = [peak * (step + 1) / warmup for step in range(min(warmup, steps))]
    falling = [(step - warmup) / max(1, steps - warmup) for step in range(len(rise), steps)]
    return rise + [peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))) for progress in falling]


def new_optimizer(model) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)


def fine_tune(stage: str, model, batches: Batches, optimizer, rates: Sequence[float], size: int) -> None:
    """Run one optimizer step per learning rate and print the progress every 25 steps.

    The progress includes the loss of the monitored digits: the numbers read from an image, or the results of
    calculations. The total loss also falls if the model ignores the image or the operands; the loss of the digits does
    not.
    """
    started = time.monotonic()
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, labels, digits = batches.sample(size, stage)
        logits = model(**inputs).logits[:, :-1]
        labels, digits = labels[:, 1:], digits[:, 1:]
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
        loss = losses.sum() / (labels != -100).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 25 == 0:
            read_loss, minutes = losses[digits.flatten()].mean().item(), (time.monotonic() - started) / 60
            logger.info("%s %d loss %.3f digits %.3f %.1f min", stage, step, loss.item(), read_loss, minutes)
