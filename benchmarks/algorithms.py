"""The paper's base algorithms with and without EchoRL, on images and text, over seeds: the table of the README.

    python benchmarks/algorithms.py --out runs/algorithms                       # all 48 runs, hours on 2 cores
    python benchmarks/algorithms.py --out runs/algorithms --only text --seeds 1

Each run is started from the command line, with the configuration of the task, `algorithm.name` and `echo.coef`.
Finished runs are not repeated: to resume after a stop, run the same command again. Prints the validation accuracy after
training, mean and standard error over seeds, and the accuracy before training.
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
    """Return the keys of a run that differ from the task's configuration."""
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


def run(task: str, name: str, kind: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the summary.json of a run; start the run if it is not finished."""
    steps = options.steps or load_config(TASKS[task]).trainer.max_steps
    folder = options.out / f"{task}_{name}_{kind}_{seed}_{steps}_steps"
    if not (folder / "summary.json").is_file():
        own = overrides(task, name, COEFS[kind], seed, steps, folder)
        subprocess.run([sys.executable, "-m", "echorl_vl.train", TASKS[task], *own], check=True)
    return json.loads((folder / "summary.json").read_text())


def mean_and_error(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def main() -> None:
    prepare_console()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", choices=sorted(TASKS), help="run one of the tasks (default: both)")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--steps", type=int, help="training steps (default: those of the configuration)")
    options = parser.parse_args()
    tasks = [options.only] if options.only else list(TASKS)
    summaries = {}
    for seed in options.seeds:  # seed by seed: all algorithms have results after the first seed
        for task in tasks:
            for name in options.algorithms:
                for kind in COEFS:
                    summaries.setdefault((task, name, kind), []).append(run(task, name, kind, seed, options))
    print(f"\nvalidation accuracy after training, mean ± standard error of {len(options.seeds)} seeds")
    print("| | " + " | ".join(f"{task}, {kind} EchoRL" for task in tasks for kind in COEFS) + " |")
    print("|" + " --- |" * (1 + len(tasks) * len(COEFS)))
    for name in options.algorithms:
        rows = [
            [each["val/accuracy_after"] for each in summaries[task, name, kind]] for task in tasks for kind in COEFS
        ]
        print(f"| {name} | " + " | ".join(map(mean_and_error, rows)) + " |")
    for task in tasks:
        runs = [each for (its_task, _, _), group in summaries.items() if its_task == task for each in group]
        before = [each["val/accuracy_before"] for each in runs]
        print(f"before training, {task}: {statistics.mean(before):.3f}")


if __name__ == "__main__":
    main()
