"""The problems of each step, as a function of the seed and the step, so a resumed run needs no saved state."""

from __future__ import annotations

import random

from echorl_vl.errors import UserError, counted


def epoch_order(size: int, seed: int, epoch: int, shuffle: bool = True) -> list[int]:
    """Order of the indices 0 .. size-1 in ``epoch`` (from 0).

    With ``shuffle`` it is a permutation seeded by (seed, epoch), else 0, 1, 2, ... in every epoch.
    """
    order = list(range(size))
    if shuffle:
        # A text seed is hashed with SHA-512, so neighbouring seeds and epochs give unrelated permutations.
        random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


class BatchOrder:
    """Batches of distinct indices of 0 .. size-1, epoch after epoch.

    The last problems of an epoch are dropped if they don't fill a batch; with shuffling, these differ between epochs.

    Args:
        size: number of problems.
        batch_size: number of problems per step.
        seed: of the permutations.
        shuffle: whether each epoch has another order.
        key: setting of the batch size, for messages.

    Raises:
        UserError: the set does not fill one batch.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int = 0, shuffle: bool = True, key: str = "data.rollout_batch_size"
    ):
        if batch_size < 1:
            raise UserError(f"{key}: expected at least 1, got {batch_size}")
        if size < batch_size:
            raise UserError(
                f"the training set has {counted(size, 'problem')}, but a batch takes {batch_size} ({key}): "
                f"add problems, or set {key} to {size} or less"
            )
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._cached_epoch: tuple[int, list[int]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in an epoch."""
        return self.size // self.batch_size

    def epoch(self, step: int) -> int:
        """Epoch (from 0) of ``step`` (from 0)."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> list[int]:
        """Indices of the problems of ``step`` (from 0)."""
        if step < 0:
            raise ValueError(f"step: expected at least 0, got {step}")
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._cached_epoch is None or self._cached_epoch[0] != epoch:
            self._cached_epoch = (epoch, epoch_order(self.size, self.seed, epoch, self.shuffle))
        order = self._cached_epoch[1]
        return order[position * self.batch_size : (position + 1) * self.batch_size]
