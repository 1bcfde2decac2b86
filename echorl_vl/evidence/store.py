"""A folder of runs. Finished runs are never repeated; interrupted ones are resumed.

OUT/runs/NAME/            the run folder of a training run, with its checkpoints
OUT/logs/NAME.txt         the output of that training
OUT/measured/NAME.json    {"seconds": ..., "git_commit": ..., "result": {...}} of a measurement
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import echorl_vl
from echorl_vl.engines.interrupt import StopRequest
from echorl_vl.engines.local.checkpoint import MODEL_FOLDER, STATE_FILE
from echorl_vl.errors import INTERRUPTED, UserError
from echorl_vl.evaluation.folder import Keys, read_json
from echorl_vl.evidence.probe import Probe, open_probe
from echorl_vl.evidence.runs import BUDGET, START, Measurement, Run, Training, checkpoint_steps
from echorl_vl.outputs import atomic
from echorl_vl.outputs.environment import git_commit
from echorl_vl.outputs.tracker import read_metrics

POLL = 0.5  # seconds between checks for a stop
_MEASURED: Keys = {"seconds": (int, float), "git_commit": (str, type(None)), "result": dict}
_ENVIRONMENT: Keys = {"git_commit": (str, type(None)), "torch": str, "transformers": str, "platform": str}
LOG_LINES = 5  # shown in the error of a failed training


class Store:
    """The runs in one folder."""

    def __init__(self, out: Path) -> None:
        self.out = Path(out)

    def run_folder(self, training: Training) -> Path:
        return self.out / "runs" / training.name

    def done(self, run: Run) -> bool:
        if isinstance(run, Measurement):
            return self._file(run).is_file()
        return (self.run_folder(run) / "summary.json").is_file() or self._used_up(run)

    def result(self, measurement: Measurement) -> dict[str, Any]:
        """Return the numbers of a finished measurement."""
        return self._read(measurement)["result"]

    def seconds(self, run: Run) -> float:
        """Return the time of a finished run: wall clock of a measurement, sum over the steps of a training run."""
        if isinstance(run, Measurement):
            return self._read(run)["seconds"]
        return sum(row.get("timing_s/step") or 0.0 for row in read_metrics(self.run_folder(run)))

    def commit(self, run: Run) -> str | None:
        """Return the commit that produced a finished run; None if it is not known."""
        return (self._read(run) if isinstance(run, Measurement) else self._environment(run))["git_commit"]

    def versions(self, training: Training) -> str:
        """Return the library versions of a finished run, since other versions change its numbers slightly."""
        found = self._environment(training)
        return f"torch {found['torch']}, transformers {found['transformers']}, {found['platform']}"

    def metrics(self, training: Training) -> list[dict[str, Any]]:
        """Return the logged metrics of a run, by step."""
        return read_metrics(self.run_folder(training))

    def step(self, measurement: Measurement) -> int:
        """Return the training step of the measured policy; 0 for the start."""
        training, at = measurement.training, measurement.at
        if training is None or at == START:
            return 0
        return step_within_budget(self.run_folder(training), measurement) if at == BUDGET else int(at)

    def budget_used(self, measurement: Measurement) -> float:
        """Return the share of the rollout budget that was used up to the measured policy."""
        training, at = measurement.training, self.step(measurement)
        if training is None or not at:
            return 0.0
        return dict(_sampled(self.run_folder(training), training))[at] / training.setup.rollout_budget

    def checkpoint(self, measurement: Measurement) -> Path | None:
        """Return the folder of the measured model; None for the configuration's initial model."""
        at = self.step(measurement)
        return self.run_folder(measurement.training) / f"global_step_{at}" / MODEL_FOLDER if at else None

    def run(self, runs: Iterable[Run], report=print) -> None:
        """Execute the unfinished runs in order; training runs use separate processes.

        Args:
            runs: the runs.
            report: called with a line per finished run.

        Raises:
            UserError: a run failed; shows the end of its output.
        """
        todo = [run for run in runs if not self.done(run)]
        with ExitStack() as opened:
            open_for: tuple[Any, Probe | None] = (None, None)
            for index, run in enumerate(todo, 1):
                started = time.monotonic()
                if isinstance(run, Training):
                    self._train(run)
                else:
                    which = (run.setup, self.checkpoint(run))
                    if open_for[1] is None or open_for[0] != which:
                        opened.close()
                        open_for = which, opened.enter_context(open_probe(*which))
                    self._measure(run, open_for[1])
                report(f"[{index}/{len(todo)}] {run.name}: {time.monotonic() - started:.0f} s")

    def _train(self, training: Training) -> None:
        folder, log = self.run_folder(training), self.out / "logs" / f"{training.name}.txt"
        command = [sys.executable, "-m", "echorl_vl.train", *training.arguments]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as out:  # a resumed training has earlier output
            arguments = [*command, f"trainer.save_checkpoint_path={folder}"]
            status = _until_ended(arguments, out, lambda: self._used_up(training))
        if not self.done(training):
            last = "\n  ".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise UserError(f"the training run {training.name} failed (status {status}); {log} ends with\n  {last}")
        for state in folder.glob(f"global_step_*/{STATE_FILE}"):  # a finished run is not resumed
            state.unlink()

    def _measure(self, measurement: Measurement, probe: Probe) -> None:
        started = time.monotonic()
        result = measurement.measure(probe, measurement.seed, **measurement.options)
        facts = {
            "name": measurement.name,
            "seconds": round(time.monotonic() - started, 1),
            "git_commit": git_commit(Path(echorl_vl.__file__).resolve().parent),
            "result": result,
        }
        atomic.write_text(self._file(measurement), json.dumps(facts) + "\n")

    def _used_up(self, training: Training) -> bool:
        """Whether a training run that is measured within its budget has exceeded it; later steps are not needed."""
        folder = self.run_folder(training)
        if training.keep != "budget" or not (folder / "metrics.jsonl").is_file():
            return False
        return any(sampled > training.setup.rollout_budget for _, sampled in _sampled(folder, training))

    def _environment(self, training: Training) -> dict[str, Any]:
        return read_json(self.run_folder(training) / "environment.json", _ENVIRONMENT)

    def _read(self, measurement: Measurement) -> dict[str, Any]:
        return read_json(self._file(measurement), _MEASURED)

    def _file(self, measurement: Measurement) -> Path:
        return self.out / "measured" / f"{measurement.name}.json"


def _until_ended(command: list[str], out: TextIO, enough: Callable[[], bool]) -> int:
    """Execute a training run and return its exit status. It is stopped once `enough()` is true.

    Ctrl-C is forwarded and raised here once the training has saved its state; a second Ctrl-C, also forwarded, stops
    the training immediately.
    """
    told = False
    # Before the process starts: an interrupt right after its start has to be forwarded.
    with StopRequest() as stop:
        # In a new session the training does not get the terminal's Ctrl-C in addition to the forwarded one.
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        while process.returncode is None:
            try:
                if not told and (stop.asked or enough()):
                    told = True
                    process.send_signal(signal.SIGINT)
                process.wait(POLL)
            except subprocess.TimeoutExpired:
                continue
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
    if stop.asked or (process.returncode == INTERRUPTED and not told):
        raise KeyboardInterrupt
    return process.returncode


def step_within_budget(folder: Path, measurement: Measurement) -> int:
    """Return the step of the last checkpoint within the rollout budget; 0 if there is none.

    With dynamic sampling the number of rollouts per step varies (`sampling/groups`). Checkpoints that a run wrote
    because it was stopped are ignored, so that all runs are tested at the same steps.
    """
    training, budget = measurement.training, measurement.setup.rollout_budget
    last = max((step for step, sampled in _sampled(folder, training) if sampled <= budget), default=0)
    steps = checkpoint_steps(training.setup.steps, training.keep)
    return max((step for step in steps if step <= last), default=0)


def _sampled(folder: Path, training: Training) -> Iterator[tuple[int, float]]:
    """Yield (step, rollouts sampled until its end) for each step of a run."""
    base, sampled = training.setup.base, 0.0
    for row in read_metrics(folder):
        sampled += row.get("sampling/groups", base.data.rollout_batch_size) * base.worker.rollout.n
        yield row["step"], sampled


def estimate(store: Store, runs: Iterable[Run]) -> dict[str, tuple[int, float | None]]:
    """Estimate the time of the missing runs.

    Seconds are the mean of finished runs in this store, else the estimate of the task or the measurement.

    Returns:
        Type of run -> (number of missing runs, seconds or None if unknown).
    """
    runs = list(runs)
    plan: dict[str, tuple[int, float | None]] = {}
    known = _measured_seconds(store, runs)
    for run in runs:
        if store.done(run):
            continue
        kind = "training" if isinstance(run, Training) else run.measure.__name__
        guess = known.get((run.setup.task, kind))
        if guess is None and isinstance(run, Training):
            guess = None if run.setup.step_seconds is None else run.setup.step_seconds * run.setup.steps
        elif guess is None:
            guess = run.seconds
        label = f"{run.setup.task}, {kind}"
        count, seconds = plan.get(label, (0, 0.0))
        plan[label] = count + 1, None if guess is None or seconds is None else seconds + guess
    return plan


def _measured_seconds(store: Store, runs: Iterable[Run]) -> Mapping[tuple[str, str], float]:
    taken: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        if store.done(run):
            kind = "training" if isinstance(run, Training) else run.measure.__name__
            taken.setdefault((run.setup.task, kind), []).append(store.seconds(run))
    return {kind: sum(values) / len(values) for kind, values in taken.items()}
