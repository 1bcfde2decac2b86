"""What a training run on Ray writes to its run folder, from the driver process: metrics, rollouts, validations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from echorl_vl.engines.ray.hooks import patched
from echorl_vl.engines.train_batch import validation_metrics, write_train_batch
from echorl_vl.errors import UserError
from echorl_vl.outputs.display import lost_answers
from echorl_vl.outputs.rollout_files import write_rollouts
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.tracker import Tracker
from echorl_vl.rewards.manager import lost_metrics
from echorl_vl.types import RolloutBatch, TrainBatch

STOP_FILE = "stop"
"""A file with this name in the run folder stops the run after the current step. Ctrl-C creates it; so may the user."""

logger = logging.getLogger(__name__)

Decode = Callable[[list[list[int]]], Sequence[str]]


class RunRecorder:
    """Writes metrics and rollouts into a run folder that the starting process has opened.

    Args:
        run_path: the run folder.
        resume_step: number of steps that it holds already; None for a new run.
        rollout_save_freq: as in the section `trainer`.
        max_bad_steps: as in the section `trainer`.
    """

    def __init__(self, run_path: str, resume_step: int | None, rollout_save_freq: int, max_bad_steps: int) -> None:
        self.run = RunFolder.attach(Path(run_path), resume_step)
        self.rollout_save_freq, self.max_bad_steps = rollout_save_freq, max_bad_steps

    @contextmanager
    def tracking(
        self, module: ModuleType, tracker: str, hidden: Sequence[str] = (), after: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Inside the context, the host's logger also writes metrics.jsonl.

        Args:
            module: the host's module with the logger class.
            tracker: name of the class.
            hidden: metrics that are not logged.
            after: called at the end of every `log`.
        """
        with Tracker(self.run, ("file",)) as records:

            class RecordingTracker(getattr(module, tracker)):
                def log(self, data: dict[str, Any], step: int, *more: Any, **options: Any) -> None:
                    data = {name: value for name, value in data.items() if name not in hidden}
                    super().log(data, step, *more, **options)
                    records.log(step, data)
                    after()

            with patched(module, **{tracker: RecordingTracker}):
                yield

    def stop_asked(self) -> bool:
        """Whether the run should stop after this step."""
        return (self.run.path / STOP_FILE).exists()

    def check_bad_steps(self, in_a_row: int) -> None:
        """Raises UserError after `max_bad_steps` optimizer steps in a row that were not finite."""
        if in_a_row >= self.max_bad_steps:
            raise UserError(
                f"the last {in_a_row} optimizer steps were not finite and were skipped: lower "
                "worker.actor.optim.lr, or check the reward and the model. Raise trainer.max_bad_steps "
                f"(now {self.max_bad_steps}) to allow more. Earlier checkpoints are in {self.run.path}."
            )

    def write_step(self, step: int, train_batch: TrainBatch, decode: Decode) -> None:
        """Write the rollout file of a training step, every `rollout_save_freq` steps."""
        if self.rollout_save_freq > 0 and step % self.rollout_save_freq == 0:
            write_train_batch(self.run.rollouts_file(step), step, train_batch, decode)

    def write_validation(self, step: int, rollouts: RolloutBatch, n: int, decode: Decode) -> dict[str, float]:
        """Write the rollout file of a validation with n responses per problem; returns `validation_metrics`."""
        path = self.run.validation_file(step)
        write_rollouts(path, step, rollouts, rollouts.scores, decode=decode, images=False)
        return validation_metrics(rollouts, n)


def lost_answer_metrics(kinds: Sequence[str], where: str) -> dict[str, float]:
    """Metrics of the answers without a score; logs a warning if there are any.

    Args:
        kinds: of each answer, as `RewardManager.kinds` has them.
        where: the step, as the beginning of the warning.
    """
    lost = lost_metrics(kinds)
    if warning := lost_answers(lost):
        logger.warning("%s: %s", where, warning)
    return lost
