"""Problems that the policy fails at, waiting for a step of supervised fine-tuning (ReLIFT)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class DemonstrationBuffer:
    """A queue of training problems, by index. `problems` is a part of the run's state.

    Args:
        size: problems that make a step.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.problems: list[int] = []

    def add(self, problems: Sequence[int]) -> Iterator[list[int]]:
        """Appends problems that are not waiting yet; yields every full batch and takes it out."""
        self.problems += [problem for problem in dict.fromkeys(problems) if problem not in self.problems]
        while len(self.problems) >= self._size:
            batch, self.problems = self.problems[: self._size], self.problems[self._size :]
            yield batch
