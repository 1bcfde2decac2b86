"""Short runs of the local engine."""

from __future__ import annotations

from pathlib import Path

from finished_run import FinishedRun

REPOSITORY = Path(__file__).resolve().parents[2]

SMALL = [
    "data.rollout_batch_size=4",
    "data.max_response_length=40",
    "data.val_files=''",
    "worker.rollout.n=4",
    "worker.actor.global_batch_size=4",
    "worker.actor.micro_batch_size_per_device_for_update=8",
    "worker.reward.time_limit=5",
    "trainer.max_steps=2",
    "trainer.val_freq=-1",
    "trainer.val_before_train=false",
    "trainer.save_freq=-1",
    "trainer.logger=[console, file]",
]
"""Overrides of the tiny configurations for a run of a few seconds."""

NOT_REPEATABLE = ("timing_s/", "perf/", "time")
"""Metrics that differ between equal runs."""


class Run(FinishedRun):
    """A run of the local engine."""

    def repeatable(self) -> list[dict]:
        return [
            {key: value for key, value in row.items() if not key.startswith(NOT_REPEATABLE)} for row in self.metrics
        ]


def arguments(folder: Path, problems: Path, overrides: tuple[str, ...], task: str = "images") -> list[str]:
    name, own = "math_tiny", [f"trainer.save_checkpoint_path={folder}"]
    if task == "images":
        name, own = "geo3k_tiny", [*own, f"data.train_files={problems}"]
    return [str(REPOSITORY / f"configs/{name}.yaml"), *SMALL, *own, *overrides]
