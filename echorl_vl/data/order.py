"""Which problems a step trains on, as a function of the seed and the step alone: a resumed run needs no saved state."""

from __future__ import annotations

import random

from echorl_vl.errors import UserError, counted


def epoch_order(size: int, seed: int, epoch: int, shuffle: bool = True) -> list[int]:
    """Order of the indices 0 .. size-1 in ``epoch`` (from 0): a permutation seeded by (seed, epoch).

    Without ``shuffle`` it is 0, 1, 2, ... in every epoch.
    """
    order = list(range(size))
    if shuffle:
        # A text seed goes through SHA-512, so that neighbouring seeds and epochs give unrelated permutations.
        random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


class BatchOrder:
    """Batches of ``batch_size`` distinct indices of 0 .. size-1, epoch after epoch.

    The rest of an epoch that doesn't fill a batch is dropped; each epoch drops another rest when shuffled. Raises
    UserError, which names ``key`` as the one that asks for the batch's size, if the set doesn't fill one batch.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int = 0, shuffle: bool = True, key: str = "data.rollout_batch_size"
    ):
        if batch_size < 1:
            raise UserError(f"a batch of {batch_size} problems: {key} must be at least 1")
        if size < batch_size:
            raise UserError(
                f"the training set has {counted(size, 'problem')} and a batch takes {batch_size} ({key}): "
                f"give more problems or set {key} to {size} or less"
            )
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._epoch_at_hand: tuple[int, list[int]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in an epoch."""
        return self.size // self.batch_size

    def epoch(self, step: int) -> int:
        """Epoch (from 0) that ``step`` (from 0) belongs to."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> list[int]:
        """Indices of the problems of ``step``; the first step is 0."""
        if step < 0:
            raise ValueError(f"step {step}: steps count from 0")
        epoch, position = divmod(step, self.steps_per_epoch)
        # Only saves work: the order is the same whether or not it was kept.
        if self._epoch_at_hand is None or self._epoch_at_hand[0] != epoch:
            self._epoch_at_hand = (epoch, epoch_order(self.size, self.seed, epoch, self.shuffle))
        order = self._epoch_at_hand[1]
        return order[position * self.batch_size : (position + 1) * self.batch_size]
