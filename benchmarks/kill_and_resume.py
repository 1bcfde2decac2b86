"""Kill small runs at random moments, resume them, and compare with an uninterrupted run, bit for bit.

    python benchmarks/kill_and_resume.py
    python benchmarks/kill_and_resume.py --config configs/math_tiny.yaml --algorithms dapo luffy relift reinforce_ada

Metrics, rollouts, validations and final weights have to be the same. Prints a line per run; the exit status is 1 if a
run differs or does not finish. A run is killed by SIGKILL one to three times. The moments are uniform over the duration
of the uninterrupted run (`--seed`). Processes are forked from one that has imported torch, since imports would take
most of a small run's time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import datasets

from echorl_vl.errors import UserError
from echorl_vl.outputs.tracker import read_metrics

STEPS = 8
SMALL = [
    "data.rollout_batch_size=4",
    "data.max_response_length=48",
    "worker.rollout.n=4",
    "worker.actor.global_batch_size=4",
    "worker.reward.time_limit=60",
    f"trainer.max_steps={STEPS}",
    "trainer.val_freq=3",
    "trainer.save_freq=2",
]
ALGORITHM = {
    "dapo": ["trainer.max_try_make_batch=-1"],
    "relift": ["algorithm.options.buffer=2"],
    "uft": ["algorithm.options.hint_share=1.0"],
}
NOT_REPEATABLE = ("timing_s/", "perf/", "time")
WEIGHTS = Path(f"global_step_{STEPS}/actor/huggingface/model.safetensors")

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["echorl_vl.train", "echorl_vl.engines.local.run", "torch.utils.tensorboard"])


def train(arguments: list[str], log: Path) -> None:
    """Run `python -m echorl_vl.train ...` in this process, with its output in a file."""
    from echorl_vl.train import main

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.exit(main(arguments))


@dataclass(frozen=True)
class Job:
    """A run: its arguments and its folder."""

    arguments: list[str]
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def start(self) -> multiprocessing.Process:
        """Start or resume the run; returns once it has locked its folder."""
        arguments = [*self.arguments, f"trainer.save_checkpoint_path={self.folder}"]
        process = FORKED.Process(target=train, args=(arguments, self.log))
        process.start()
        lock = self.folder / ".lock"
        while process.is_alive() and not (lock.exists() and lock.read_text().strip() == str(process.pid)):
            time.sleep(0.005)
        return process

    @property
    def finished(self) -> bool:
        """Whether the run is complete: the same command would then start another run."""
        return (self.folder / "summary.json").exists()

    def last_step(self) -> int:
        try:
            return max((row["step"] for row in read_metrics(self.folder)), default=0)
        except UserError:
            return 0


def disturb(job: Job, seconds: float, rng: random.Random) -> str:
    """Kill a run one to three times, then let it finish; returns a description. Raises RuntimeError if it fails."""
    kills, planned = [], rng.choice((1, 1, 2, 3))
    while True:
        process = job.start()
        if len(kills) < planned:
            moment = rng.uniform(0, seconds)
            process.join(moment)
            if process.is_alive():
                process.kill()
                process.join()
                if not job.finished:
                    kills.append(f"{moment:.2f} s (step {job.last_step()})")
                    continue
        process.join()
        if process.exitcode and not job.finished:
            raise RuntimeError(f"exit status {process.exitcode}: see {job.log}")
        if kills:
            return "killed after " + ", ".join(kills)
        shutil.rmtree(job.folder)  # it finished before the kill: try again, with an earlier kill
        seconds *= 0.8


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yield the differences between two run folders, apart from times."""
    rows = [
        [{k: v for k, v in row.items() if not k.startswith(NOT_REPEATABLE)} for row in read_metrics(folder)]
        for folder in (one, other)
    ]
    if len(rows[0]) != len(rows[1]):
        yield f"metrics.jsonl: {len(rows[0])} and {len(rows[1])} rows"
    for ours, theirs in zip(*rows, strict=False):
        if differing := [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]:
            yield f"metrics.jsonl, step {ours['step']}: {', '.join(sorted(differing)[:5])}"
    for kind in ("rollouts", "validation"):
        names = [{path.name for path in (folder / kind).glob("step_*.parquet")} for folder in (one, other)]
        if names[0] != names[1]:
            yield f"{kind}: {len(names[0])} and {len(names[1])} files"
        for name in sorted(names[0] & names[1]):
            if (one / kind / name).read_bytes() != (other / kind / name).read_bytes():
                yield f"{kind}/{name}"
    weights = [folder / WEIGHTS for folder in (one, other)]
    if not all(path.is_file() for path in weights) or weights[0].read_bytes() != weights[1].read_bytes():
        yield str(WEIGHTS)
    if other.with_name(f"{other.name}_2").exists():
        yield f"{other.name}_2: a new run was started"
    if not (other / "plots").is_dir():
        yield "plots"


def small_arguments(config: str, algorithm: str | None, folder: Path) -> list[str]:
    """Return the arguments of a small run of `config`, on a few of its validation problems."""
    import echorl_vl.engines
    import echorl_vl.generators  # noqa: F401 - both register their contents
    from echorl_vl.algorithms import ALGORITHMS
    from echorl_vl.config import load_config
    from echorl_vl.data.generated import load_generated
    from echorl_vl.places import split_of_place

    arguments = [config, *SMALL]
    problems = load_generated(*split_of_place(load_config(config).data.val_files))
    datasets.disable_progress_bars()
    for key, rows in (("train_files", range(24)), ("val_files", range(24, 32))):
        path = folder / f"{key}.parquet"
        problems.select(rows).to_parquet(path)
        arguments.append(f"data.{key}={path}")
    if algorithm is not None:
        arguments += [f"algorithm.name={algorithm}", *ALGORITHM.get(algorithm, [])]
        if ALGORITHMS[algorithm]().needs_demonstrations:
            arguments.append("data.demonstration_key=solution")
    return arguments


def run_all(arguments: list[str], name: str, options: argparse.Namespace, out: Path) -> int:
    """Run one configuration; returns the number of identical continuations."""
    whole = Job(arguments, out / "whole")
    process, started = whole.start(), time.monotonic()
    process.join()
    seconds = time.monotonic() - started
    if process.exitcode:
        raise RuntimeError(f"the uninterrupted run ended with exit status {process.exitcode}: see {whole.log}")
    print(f"{name}: {STEPS} steps, {seconds:.1f} s uninterrupted", flush=True)

    def one(number: int) -> bool:
        job = Job(arguments, out / f"run_{number:03d}")
        try:
            description = disturb(job, seconds, random.Random(f"{options.seed} {name} {number}"))
            differing = list(differences(whole.folder, job.folder))
        except (RuntimeError, UserError) as error:
            description, differing = "failed", [str(error)]
        verdict = "identical" if not differing else f"DIFFERS: {'; '.join(differing[:4])} ({job.folder})"
        print(f"{name} {number:3d}: {description}: {verdict}", flush=True)
        if not differing:
            shutil.rmtree(job.folder)
        return not differing

    with ThreadPoolExecutor(options.jobs) as pool:
        return sum(pool.map(one, range(1, options.runs + 1)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", default="configs/geo3k_tiny.yaml", help="a configuration with generated problems")
    parser.add_argument("--algorithms", nargs="+", help="base algorithms (default: the configuration's)")
    parser.add_argument("--runs", type=int, default=40, help="killed runs per algorithm")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="parallel runs")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments of the kills")
    parser.add_argument("--out", type=Path, help="folder of the runs, which is kept (default: a temporary folder)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # rounding depends on the number of threads
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"  # killed processes leave resources behind
    out = options.out or Path(tempfile.mkdtemp(prefix="kill_and_resume_"))
    same = total = 0
    for algorithm in options.algorithms or [None]:
        folder = (out / (algorithm or "runs")).absolute()
        folder.mkdir(parents=True)
        arguments = small_arguments(options.config, algorithm, folder)
        same += run_all(arguments, algorithm or Path(options.config).stem, options, folder)
        total += options.runs
    print(f"{same} of {total} continuations identical")
    if same == total and options.out is None:
        shutil.rmtree(out)
    return 0 if same == total else 1


if __name__ == "__main__":
    sys.exit(main())
