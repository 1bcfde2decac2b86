"""Do two commits train the same? Runs both on this machine and compares their metrics, row by row, but for times.

    python benchmarks/same_numbers.py BASE HEAD             # every algorithm, images and text, resumed runs, a KL
    python benchmarks/same_numbers.py BASE HEAD --tasks math_tiny --algorithms grpo dapo --steps 4

For a change that should not alter results. Each run is the task's configuration with `algorithm.name`, its first
steps and the validation after the last; a resumed run is stopped half-way and started again; `kl` is GRPO with a
reference policy and a validation before the first step as well. The two commits are checked out beside each other and
run by the Python that runs this script, so both see the same libraries. Prints a line a run; the exit status is 1
where two differ.
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
    """What the run changes of the task's configuration. The schedules are those of the whole run."""
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
        *OWN_KEYS.get(name, []),  # the last of two values of a key counts
    ]


def train(tree: Path, task: str, name: str, steps: int, folder: Path) -> str | None:
    """Runs one training of the code in `tree`; None, or the end of what it printed where it failed."""
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
    """The rows of a run, without what may differ between two equal runs."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith(TIMES)} for row in rows]


def difference(base: list[dict], head: list[dict]) -> str | None:
    """The first thing in which two runs differ, values as the file has them; None where they are equal."""
    if len(base) != len(head):
        return f"{len(base)} rows and {len(head)}"
    for one, other in zip(base, head, strict=True):
        for key in sorted(one.keys() | other.keys()):
            # As texts: NaN is NaN, and a key that a side has not is no null.
            values = [json.dumps(row[key]) if key in row else "not there" for row in (one, other)]
            if values[0] != values[1]:
                return f"step {one.get('step')}: {key} is {values[0]} and {values[1]}"
    return None


def compare(trees: dict[str, Path], task: str, name: str, steps: int, out: Path) -> str | None:
    """Runs one training of both commits; what differs or failed, None for equal runs."""
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
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
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
    print(f"{len(runs) - differing} of {len(runs)} runs are equal in all metrics but times ({options.steps} steps)")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
