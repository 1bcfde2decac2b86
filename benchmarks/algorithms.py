"""The paper's base algorithms with EchoRL and without, images and text, over seeds: the table of the README.

    python benchmarks/algorithms.py --out runs/algorithms                       # everything: 48 runs, hours on 2 cores
    python benchmarks/algorithms.py --out runs/algorithms --only text --seeds 1

Each cell is a run through the command line, of the configuration of the task with `algorithm.name` and `echo.coef`.
A run that is finished is not run again, so the command resumes where it was stopped. Reported: accuracy on validation
problems after training, mean and standard error over the seeds, beside the accuracy before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import echorl_vl.engines  # noqa: F401 - registers the engines
from echorl_vl.config import load_config
from echorl_vl.evidence.runs import algorithm_keys
from echorl_vl.outputs.terminal import prepare_console

TASKS = {"pictures": "configs/geo3k_tiny.yaml", "text": "configs/math_tiny.yaml"}
ALGORITHMS = ("grpo", "dapo", "luffy", "uft")
COEFS = {"without": 0.0, "with": 0.001}


def overrides(task: str, name: str, coef: float, seed: int, steps: int, folder: Path) -> list[str]:
    """What the run of one cell changes of the task's configuration."""
    keys = algorithm_keys(name, coef, demonstration_key=lambda: "solution")
    return [
        *(f"{key}={value}" for key, value in keys.items()),
        f"data.seed={seed}",
        f"worker.rollout.seed={seed}",
        f"trainer.max_steps={steps}",
        f"trainer.val_freq={steps}",
        f"trainer.save_freq={steps}",
        "trainer.rollout_save_freq=0",
        "trainer.logger=[console, file]",
        f"trainer.save_checkpoint_path={folder}",
    ]


def run_cell(task: str, name: str, kind: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """summary.json of the cell's run, which is started if it has not been."""
    steps = options.steps or load_config(TASKS[task]).trainer.max_steps
    folder = options.out / f"{task}_{name}_{kind}_{seed}_{steps}_steps"
    if not (folder / "summary.json").is_file():
        own = overrides(task, name, COEFS[kind], seed, steps, folder)
        subprocess.run([sys.executable, "-m", "echorl_vl.train", TASKS[task], *own], check=True)
    return json.loads((folder / "summary.json").read_text())


def cell(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def main() -> None:
    prepare_console()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", choices=sorted(TASKS), help="one of the tasks")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--steps", type=int, help="fewer training steps than the configurations have")
    options = parser.parse_args()
    tasks = [options.only] if options.only else list(TASKS)
    found = {}
    for seed in options.seeds:  # seed by seed, so that a table can be had early
        for task in tasks:
            for name in options.algorithms:
                for kind in COEFS:
                    found.setdefault((task, name, kind), []).append(run_cell(task, name, kind, seed, options))
    print(f"\nvalidation accuracy after training, mean ± standard error of {len(options.seeds)} seeds")
    print("| | " + " | ".join(f"{task}, {kind} EchoRL" for task in tasks for kind in COEFS) + " |")
    print("|" + " --- |" * (1 + len(tasks) * len(COEFS)))
    for name in options.algorithms:
        cells = [cell([f["val/accuracy_after"] for f in found[task, name, kind]]) for task in tasks for kind in COEFS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    for task in tasks:
        before = [f["val/accuracy_before"] for (its, _, _), facts in found.items() if its == task for f in facts]
        print(f"before training, {task}: {statistics.mean(before):.3f}")


if __name__ == "__main__":
    main()
