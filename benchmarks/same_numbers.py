"""Compare the training metrics of two commits, row by row, apart from times.

    python benchmarks/same_numbers.py BASE HEAD             # all algorithms, images and text, resumed runs, KL
    python benchmarks/same_numbers.py BASE HEAD --tasks math_tiny --algorithms grpo dapo --steps 4

For changes that should not alter results. Each run takes the first steps of the task's configuration with
`algorithm.name`, and a validation after the last step. A resumed run is stopped half-way and started again; `kl` is
GRPO with a reference policy, and also validates before the first step. Both commits are checked out and run by the
Python that runs this script, with the same libraries. Prints a line per run; the exit status is 1 if runs differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TASKS = ("geo3k_tiny", "math_tiny")
ALGORITHMS = (
    "grpo", "dapo", "luffy", "uft", "dr_grpo", "reinforce_rej", "reinforce_ada", "sft", "relift", "srft",
)  # fmt: skip
RESUMED = {"resumed": "grpo", "resumed_relift": "relift"}  # run -> its algorithm
RUNS = {**{name: name for name in ALGORITHMS}, **RESUMED, "kl": "grpo"}
RELIFT = ["algorithm.options.buffer=1"]
OWN_KEYS = {
    "dapo": ["trainer.max_try_make_batch=-1"],
    "relift": RELIFT,
    "resumed_relift": RELIFT,
    "uft": ["algorithm.options.hint_share=1.0"],
    "kl": [
        "algorithm.disable_kl=false",
        "algorithm.use_kl_loss=true",
        "algorithm.kl_coef=0.1",
        "trainer.val_before_train=true",
    ],
}
TIMES = ("time", "timing_s/", "perf/")


def arguments(task: str, name: str, steps: int, folder: Path) -> list[str]:
    """Return the arguments of a run: the task's configuration and the keys that differ from it."""
    algorithm = RUNS[name]
    needs_demonstrations = algorithm in ("luffy", "uft", "sft", "relift", "srft")
    return [
        f"configs/{task}.yaml",
        f"algorithm.name={algorithm}",
        *(["data.trace_key=solution"] if needs_demonstrations else []),
        "algorithm.disable_kl=true",
        f"trainer.max_steps={steps}",
        "trainer.val_before_train=false",
        "trainer.val_freq=-1",
        f"trainer.save_freq={max(1, steps // 2)}",
        "trainer.rollout_save_freq=0",
        "trainer.logger=[console, file]",
        f"trainer.save_checkpoint_path={folder}",
        *OWN_KEYS.get(name, []),  # later values override earlier ones
    ]


def train(tree: Path, task: str, name: str, steps: int, folder: Path) -> str | None:
    """Carry out a training run of the code in `tree`; returns None, or the end of its output if it failed."""
    command = [sys.executable, "-m", "echorl_vl.train", *arguments(task, name, steps, folder)]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}

    def run() -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)

    if name in RESUMED:
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        checkpoint = folder / f"global_step_{max(1, steps // 2)}"
        while process.poll() is None and not checkpoint.exists():
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        process.kill()
        process.wait()
    done = run()
    return None if done.returncode == 0 else (done.stdout + done.stderr)[-800:]


def metrics(folder: Path) -> list[dict]:
    """Read the metrics of a run, without times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith(TIMES)} for row in rows]


def difference(base: list[dict], head: list[dict]) -> str | None:
    """Return the first difference between two runs; None if they are equal."""
    if len(base) != len(head):
        return f"{len(base)} rows and {len(head)}"
    for one, other in zip(base, head, strict=True):
        for key in sorted(one.keys() | other.keys()):
            # Compared as text, so that NaN equals NaN and a missing key differs from null.
            values = [json.dumps(row[key]) if key in row else "missing" for row in (one, other)]
            if values[0] != values[1]:
                return f"step {one.get('step')}: {key} is {values[0]} and {values[1]}"
    return None


def compare(trees: dict[str, Path], task: str, name: str, steps: int, out: Path) -> str | None:
    """Carry out a training run of both commits; returns the difference or failure, None if they are equal."""
    found = {}
    for side, tree in trees.items():
        folder = out / side / f"{task}_{name}"
        if failure := train(tree, task, name, steps, folder):
            return f"the run of {side} failed: {failure}"
        found[side] = metrics(folder)
    return difference(found["base"], found["head"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", help="the commit before the change")
    parser.add_argument("head", help="the commit after it")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--algorithms", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="parallel runs, one thread each")
    options = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        trees = {"base": Path(folder) / "base_code", "head": Path(folder) / "head_code"}
        for commit, tree in zip((options.base, options.head), trees.values(), strict=True):
            command = ["git", "-C", str(REPOSITORY), "worktree", "add", "--detach", str(tree), commit]
            subprocess.run(command, check=True, capture_output=True)
        try:
            with ThreadPoolExecutor(options.jobs) as pool:
                runs = {
                    f"{task} {name}": pool.submit(compare, trees, task, name, options.steps, Path(folder))
                    for task in options.tasks
                    for name in options.algorithms
                }
                for run, result in runs.items():
                    found = result.result()
                    differing += found is not None
                    print(f"{run}: {'equal' if found is None else found}", flush=True)
        finally:
            for tree in trees.values():
                command = ["git", "-C", str(REPOSITORY), "worktree", "remove", "--force", str(tree)]
                subprocess.run(command, check=False, capture_output=True)
    print(f"{len(runs) - differing} of {len(runs)} runs are equal in all metrics except times ({options.steps} steps)")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
