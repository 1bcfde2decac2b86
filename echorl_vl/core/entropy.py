"""Log-probs and full-vocabulary entropies from logits, and their means over reasoning steps.

For logits x of one position and temperature tau, z = log_softmax(x / tau) and p = exp(z):

    log_prob = z[label]                   d log_prob / d x_j = (1[j = label] - p_j) / tau
    entropy  = -sum_j p_j z_j   (nats)    d entropy  / d x_j = -p_j (z_j + entropy) / tau

The logits (tokens x vocabulary) are by far the largest tensor of a step, so no other tensor of that size is allocated:
forward and backward work on a few rows at a time, and the backward recomputes z and overwrites the logits with their
gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_CPU_CHUNK = 1 << 19  # elements; about the size of the cache
_DEVICE_CHUNK = 1 << 24  # elements; enough to hide kernel launches
_LEAST_CHUNKS = 16  # keeps a chunk small relative to the logits, however small they are
_FLOOR = -1e30  # replaces -inf, the log-prob of a forbidden token: 0 * -inf would be nan


def log_probs_and_entropy(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    entropy_temperature: float | None = None,
    entropy_grad: bool = True,
    chunk_rows: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the log-prob of each label and the entropy of each distribution, both differentiable.

    Never allocates a second tensor of the size of the logits. **The backward writes the gradient into the storage of
    `logits`**, unless `logits` is a leaf, a view of a leaf, or has elements that share memory (then it allocates the
    gradient). So after `backward()`, `logits` contains its gradient: to read the logits later, copy them first. Another
    operation that saved them for its own backward raises autograd's error "modified by an inplace operation" instead
    of computing wrong gradients. So does a second backward through the result, even with `retain_graph=True`.

    A slice such as `logits[:, -n:]` is not copied, but autograd allocates the gradient of the whole tensor in the
    backward of the slice. Compute the logits of the required positions only.

    Args:
        logits: (..., V), any floating dtype. May contain -inf (forbidden tokens) if each row has a finite logit.
        labels: (...) int64 in 0..V-1, including at padding.
        temperature: divides the logits, > 0.
        entropy_temperature: temperature of the entropy; None: `temperature`.
        entropy_grad: False detaches the entropy and skips its backward.
        chunk_rows: rows processed at a time; None: chosen by size and device.

    Returns:
        log_probs (...) and entropy (...) in nats: float64 for float64 logits, else float32.

    Raises:
        ValueError: the shapes don't match, or a temperature is not positive.
    """
    if logits.dim() < 1 or logits.shape[:-1] != labels.shape:
        shapes = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"log_probs_and_entropy expected logits (..., V) and labels (...), got {shapes}")
    temperatures = (temperature, temperature if entropy_temperature is None else entropy_temperature)
    if not all(value > 0 for value in temperatures):
        raise ValueError(f"expected a temperature > 0, got {min(temperatures)}")
    rows = _chunk_rows(logits) if chunk_rows is None else max(1, chunk_rows)
    return _LogProbsAndEntropy.apply(logits, labels, temperatures, entropy_grad, rows, _may_overwrite(logits))


@torch.no_grad()
def token_entropy(logits: Tensor, temperature: float = 1.0, chunk_rows: int | None = None) -> Tensor:
    """Compute the entropy of each distribution without gradient, for engines that compute the log-probs themselves.

    Args:
        logits: (..., V), any floating dtype; not modified.
        temperature: divides the logits, > 0.
        chunk_rows: rows processed at a time; None: chosen by size and device. The extra memory is three float32 copies
            of these rows.

    Returns:
        (...) nats, float64 for float64 logits, else float32; exactly the entropies of `log_probs_and_entropy`.

    Raises:
        ValueError: the logits have no vocabulary axis, or the temperature is not positive.
    """
    if logits.dim() < 1:
        raise ValueError(f"token_entropy expected logits (..., V), got {tuple(logits.shape)}")
    if not temperature > 0:
        raise ValueError(f"expected a temperature > 0, got {temperature}")
    dtype = _compute_dtype(logits)
    entropy = torch.empty(logits.shape[:-1], dtype=dtype, device=logits.device)
    flat = entropy.view(-1)
    for chunk, part in _chunks(logits, _chunk_rows(logits) if chunk_rows is None else max(1, chunk_rows)):
        flat[part] = _entropy(_log_softmax(chunk, temperature, dtype))
    return entropy


class _LogProbsAndEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        temperatures: tuple[float, float],
        entropy_grad: bool,
        rows: int,
        overwrite: bool,
    ) -> tuple[Tensor, Tensor]:
        dtype = _compute_dtype(logits)
        log_probs = torch.empty(labels.shape, dtype=dtype, device=logits.device)
        entropy = torch.empty_like(log_probs)
        flat_labels, flat_log_probs, flat_entropy = labels.flatten(), log_probs.view(-1), entropy.view(-1)
        for chunk, part in _chunks(logits, rows):
            z = _log_softmax(chunk, temperatures[0], dtype)
            flat_log_probs[part] = z.gather(1, flat_labels[part, None]).squeeze(1)
            if temperatures[1] != temperatures[0]:
                z = _log_softmax(chunk, temperatures[1], dtype)
            flat_entropy[part] = _entropy(z)

        ctx.set_materialize_grads(False)
        if not entropy_grad:
            ctx.mark_non_differentiable(entropy)
        ctx.save_for_backward(logits, flat_labels, entropy)
        ctx.temperatures, ctx.rows, ctx.overwrite = temperatures, rows, overwrite
        return log_probs, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_log_probs: Tensor | None, grad_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        logits, labels, entropy = ctx.saved_tensors
        if grad_log_probs is None and grad_entropy is None:
            return (None,) * 6
        # detach() shares storage and version counter, so autograd detects a write to it as an in-place change.
        source = logits.detach()
        grad = source if ctx.overwrite else source.new_empty(source.shape)
        for chunk, part in _chunks(source, ctx.rows):
            out = chunk if ctx.overwrite else grad.view(-1, grad.shape[-1])[part]
            out.copy_(_chunk_gradient(chunk, part, labels, entropy, grad_log_probs, grad_entropy, ctx.temperatures))
        return grad, None, None, None, None, None


def _chunk_gradient(
    chunk: Tensor,
    part: slice,
    labels: Tensor,
    entropy: Tensor,
    grad_log_probs: Tensor | None,
    grad_entropy: Tensor | None,
    temperatures: tuple[float, float],
) -> Tensor:
    """Compute the gradient of `chunk` (c, V), which has the rows `part` of the other tensors."""
    total = z = None
    if grad_log_probs is not None:
        z = _log_softmax(chunk, temperatures[0], entropy.dtype)
        g = grad_log_probs.flatten()[part, None] / temperatures[0]
        total = z.exp().mul_(-g).scatter_add_(1, labels[part, None], g)
    if grad_entropy is not None:
        if z is None or temperatures[1] != temperatures[0]:
            z = _log_softmax(chunk, temperatures[1], entropy.dtype)
        g = grad_entropy.flatten()[part, None] / temperatures[1]
        p = z.exp()
        term = z.clamp_(min=_FLOOR).add_(entropy.flatten()[part, None]).mul_(p).mul_(-g)
        total = term if total is None else total.add_(term)
    return total


def _entropy(z: Tensor) -> Tensor:
    """Compute entropies (c,) from log-softmaxes z (c, V); overwrites z."""
    p = z.exp()
    return -z.clamp_(min=_FLOOR).mul_(p).sum(1)


def _log_softmax(chunk: Tensor, temperature: float, dtype: torch.dtype) -> Tensor:
    chunk = chunk.to(dtype)
    return torch.log_softmax(chunk if temperature == 1.0 else chunk / temperature, -1)


def _chunks(logits: Tensor, rows: int) -> Iterator[tuple[Tensor, slice]]:
    """Yield views (c, V) of at most `rows` rows in order, with their slice of the flattened leading dimensions."""
    start = 0
    for chunk in _views(logits, rows):
        yield chunk, slice(start, start + len(chunk))
        start += len(chunk)


def _views(logits: Tensor, rows: int) -> Iterator[Tensor]:
    if logits.numel() == 0:
        return
    if logits.dim() <= 2:
        yield from logits.view(-1, logits.shape[-1]).split(rows) if logits.dim() == 1 else logits.split(rows)
        return
    try:
        yield from logits.view(-1, logits.shape[-1]).split(rows)
    except RuntimeError:  # not contiguous: reshape would copy everything, so split the first dimension
        for inner in logits:
            yield from _views(inner, rows)


def _chunk_rows(logits: Tensor) -> int:
    vocabulary = max(1, logits.shape[-1])
    rows = logits.numel() // vocabulary
    by_size = (_CPU_CHUNK if logits.device.type == "cpu" else _DEVICE_CHUNK) // vocabulary
    return max(1, min(by_size, rows // _LEAST_CHUNKS))


def _compute_dtype(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _may_overwrite(logits: Tensor) -> bool:
    """Whether the storage belongs to an activation, not to a leaf (a parameter, an input), and no elements share it."""
    owner = logits if logits._base is None else logits._base
    reach = 0  # offset of the last element in the dimensions with smaller strides
    for stride, size in sorted(zip(logits.stride(), logits.shape, strict=True)):
        if size > 1 and stride <= reach:  # expanded (stride 0), or overlapping windows (`unfold`)
            return False
        reach += stride * (size - 1)
    return not logits.is_leaf and not owner.is_leaf


@torch.no_grad()
def step_entropies(entropy: Tensor, step_ids: Tensor) -> Tensor:
    """Compute the mean entropy of each step over its text tokens.

    Sums are float64 and rounded to float32 once, so that equal steps at different positions compare equal: exactly on a
    CPU, where the order of additions is fixed; on a GPU up to float64 rounding, which float32 almost always hides.

    Args:
        entropy: (B, T) nats; read only where `step_ids` >= 0.
        step_ids: (B, T) int64, -1 outside of steps.

    Returns:
        (B, S) float32, where S is the largest number of steps in a row; nan where a row has fewer steps.

    Raises:
        ValueError: the shapes differ.
    """
    sums, counts = step_sums(entropy, step_ids)
    return (sums / counts).float()


def step_sums(entropy: Tensor, step_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of entropies (B, S) float64 and the number of text tokens (B, S) int64 of each step."""
    if entropy.dim() != 2 or entropy.shape != step_ids.shape:
        shapes = f"{tuple(entropy.shape)} and {tuple(step_ids.shape)}"
        raise ValueError(f"expected entropy and step_ids of the same shape (B, T), got {shapes}")
    rows = len(step_ids)
    steps = int(step_ids.max()) + 1 if step_ids.numel() else 0
    slot = step_ids + 1  # slot 0 collects the tokens outside of steps
    sums = torch.zeros(rows, steps + 1, dtype=torch.float64, device=entropy.device)
    sums.scatter_add_(1, slot, entropy.double())
    counts = torch.zeros(rows, steps + 1, dtype=torch.int32, device=entropy.device)
    counts.scatter_add_(1, slot, counts.new_ones(()).expand(slot.shape))
    return sums[:, 1:], counts[:, 1:].long()
