"""What a training on Ray leaves in its run folder, seen from the driver process: metrics, rollouts, validations."""

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
"""A file of this name in the run folder ends the run after the step: Ctrl-C makes it, and so may you."""

logger = logging.getLogger(__name__)

Decode = Callable[[list[list[int]]], Sequence[str]]


class RunRecorder:
    """Writes into the run folder that the starting process owns.

    Args:
        run_path: the folder. resume_step: steps that it holds already, None for a new run.
        rollout_save_freq, max_bad_steps: as in the section `trainer`.
    """

    def __init__(self, run_path: str, resume_step: int | None, rollout_save_freq: int, max_bad_steps: int) -> None:
        self.run = RunFolder.attach(Path(run_path), resume_step)
        self.rollout_save_freq, self.max_bad_steps = rollout_save_freq, max_bad_steps

    @contextmanager
    def tracking(
        self, module: ModuleType, tracker: str, hidden: Sequence[str] = (), after: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """The host's loggers, the class `tracker` of `module`, write metrics.jsonl as well.

        Args:
            hidden: metrics that are not logged. after: called at the end of each call of `log`.
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
        """Whether the run is to end after this step."""
        return (self.run.path / STOP_FILE).exists()

    def check_bad_steps(self, in_a_row: int) -> None:
        """Raises UserError once so many optimizer steps in a row were not finite."""
        if in_a_row >= self.max_bad_steps:
            raise UserError(
                f"the last {in_a_row} optimizer steps were not finite and were skipped: lower "
                "worker.actor.optim.lr, or look at the reward and the model. Raise trainer.max_bad_steps "
                f"(now {self.max_bad_steps}) to go on longer. Checkpoints up to now are in {self.run.path}."
            )

    def write_step(self, step: int, train_batch: TrainBatch, decode: Decode) -> None:
        """The rollout file of a training step, if there is to be one."""
        if self.rollout_save_freq > 0 and step % self.rollout_save_freq == 0:
            write_train_batch(self.run.rollouts_file(step), step, train_batch, decode)

    def write_validation(self, step: int, rollouts: RolloutBatch, n: int, decode: Decode) -> dict[str, float]:
        """The rollout file of a validation with n responses to each problem.

        Returns `validation_metrics`.
        """
        path = self.run.validation_file(step)
        write_rollouts(path, step, rollouts, rollouts.scores, decode=decode, images=False)
        return validation_metrics(rollouts, n)


def lost_answer_metrics(kinds: Sequence[str], where: str) -> dict[str, float]:
    """Metrics of the answers that got no score (`RewardManager.kinds` of each); logs a warning if there are any."""
    lost = lost_metrics(kinds)
    if warning := lost_answers(lost):
        logger.warning("%s: %s", where, warning)
    return lost
