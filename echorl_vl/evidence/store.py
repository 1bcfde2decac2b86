"""A folder of finished runs. What is in it is never run again; what a stop has cut short goes on.

OUT/runs/NAME/            the run folder of a training, with its checkpoints
OUT/logs/NAME.txt         what that training printed
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

POLL = 0.5  # seconds between looks at whether the user has asked for a stop
_MEASURED: Keys = {"seconds": (int, float), "git_commit": (str, type(None)), "result": dict}
_ENVIRONMENT: Keys = {"git_commit": (str, type(None)), "torch": str, "transformers": str, "platform": str}
LOG_LINES = 5  # of a failed training, in the error


class Store:
    """The runs below one folder."""

    def __init__(self, out: Path) -> None:
        self.out = Path(out)

    def run_folder(self, training: Training) -> Path:
        return self.out / "runs" / training.name

    def done(self, run: Run) -> bool:
        if isinstance(run, Measurement):
            return self._file(run).is_file()
        return (self.run_folder(run) / "summary.json").is_file() or self._used_up(run)

    def result(self, measurement: Measurement) -> dict[str, Any]:
        """The numbers of a finished measurement."""
        return self._read(measurement)["result"]

    def seconds(self, run: Run) -> float:
        """What a finished run took: wall clock of a measurement, the sum of a training's steps."""
        if isinstance(run, Measurement):
            return self._read(run)["seconds"]
        return sum(row.get("timing_s/step") or 0.0 for row in read_metrics(self.run_folder(run)))

    def commit(self, run: Run) -> str | None:
        """The commit that a finished run was run at; None where that is not known."""
        return (self._read(run) if isinstance(run, Measurement) else self._environment(run))["git_commit"]

    def versions(self, training: Training) -> str:
        """What a finished run was made with; its numbers differ a little with other versions."""
        found = self._environment(training)
        return f"torch {found['torch']}, transformers {found['transformers']}, {found['platform']}"

    def metrics(self, training: Training) -> list[dict[str, Any]]:
        """What the steps of a run logged, in order."""
        return read_metrics(self.run_folder(training))

    def step(self, measurement: Measurement) -> int:
        """The step of a run whose policy a measurement looks at; 0 for the start."""
        training, at = measurement.training, measurement.at
        if training is None or at == START:
            return 0
        return step_within_budget(self.run_folder(training), measurement) if at == BUDGET else int(at)

    def budget_used(self, measurement: Measurement) -> float:
        """Rollouts that a run had sampled up to the policy that a measurement looks at, as a share of the budget."""
        training, at = measurement.training, self.step(measurement)
        if training is None or not at:
            return 0.0
        return dict(_sampled(self.run_folder(training), training))[at] / training.setup.rollout_budget

    def checkpoint(self, measurement: Measurement) -> Path | None:
        """The model that a measurement looks at; None for the one that the configuration starts from."""
        at = self.step(measurement)
        return self.run_folder(measurement.training) / f"global_step_{at}" / MODEL_FOLDER if at else None

    def run(self, runs: Iterable[Run], report=print) -> None:
        """Makes the runs that are not done, in order; trainings in processes of their own.

        `report` takes a line for each. Raises UserError for one that fails, with what it said last.
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
        with log.open("a") as out:  # what is gone on with after a stop has said something before
            arguments = [*command, f"trainer.save_checkpoint_path={folder}"]
            status = _until_ended(arguments, out, lambda: self._used_up(training))
        if not self.done(training):
            last = "\n  ".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise UserError(f"the training {training.name} failed (status {status}); {log} ends in\n  {last}")
        for state in folder.glob(f"global_step_*/{STATE_FILE}"):  # a finished run needs no optimizer to go on with
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
        """Whether a run that is looked at within its budget has gone beyond: what comes then is never looked at."""
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
    """The exit status of a training, which is asked to stop when there is `enough` of it.

    Ctrl-C is passed on to it, and raised once it has saved where it is. A second Ctrl-C is passed on too, which stops
    it at once.
    """
    told = False
    # From before the process is there, or an interrupt between its start and ours knowing of it would leave it alone.
    with StopRequest() as stop:
        # In a session of its own a terminal's Ctrl-C does not reach it: it would count ours as a second one.
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
    """The last checkpoint of a run that was there before it had sampled more rollouts than the budget; 0 for none.

    Dynamic sampling samples more than a batch in some steps (`sampling/groups`), so equal steps are not equal rollouts.
    Checkpoints from a stop on the way are passed over: a run that was stopped is tested where any other is.
    """
    training, budget = measurement.training, measurement.setup.rollout_budget
    last = max((step for step, sampled in _sampled(folder, training) if sampled <= budget), default=0)
    steps = checkpoint_steps(training.setup.steps, training.keep)
    return max((step for step in steps if step <= last), default=0)


def _sampled(folder: Path, training: Training) -> Iterator[tuple[int, float]]:
    """(step, rollouts sampled up to its end), step by step of a run."""
    base, sampled = training.setup.base, 0.0
    for row in read_metrics(folder):
        sampled += row.get("sampling/groups", base.data.rollout_batch_size) * base.worker.rollout.n
        yield row["step"], sampled


def estimate(store: Store, runs: Iterable[Run]) -> dict[str, tuple[int, float | None]]:
    """Kind of run -> (how many are to be run, seconds or None where nothing is known yet).

    Seconds of a training are those of the finished ones of its task in this store, else of the task.
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
