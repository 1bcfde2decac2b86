"""Train a configuration with several seeds: validation accuracy before and after, degenerate groups, time.

    python benchmarks/seeds.py configs/geo3k_tiny.yaml --seeds 1 2 3 --out runs/seeds
    python benchmarks/seeds.py configs/geo3k_tiny.yaml --seeds 1 2 3 --out runs/seeds_grpo echo.coef=0

Each seed (`data.seed` and `worker.rollout.seed`) is a separate run from the command line, one after the other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from echorl_vl.outputs.terminal import prepare_console

COLUMNS = {
    "validation before": "val/accuracy_before",
    "validation after": "val/accuracy_after",
    "all-success first": "group/all_success_first",
    "all-success last": "group/all_success_last",
    "degenerate last": "group/degenerate_last",
    "minutes": "minutes",
}


def run_seed(config: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, float]:
    """Run one seed; returns the numbers of its summary.json and its wall-clock minutes."""
    own = [f"data.seed={seed}", f"worker.rollout.seed={seed}", f"trainer.save_checkpoint_path={folder}"]
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "echorl_vl.train", config, *own, *overrides], check=True)
    minutes = (time.monotonic() - started) / 60
    return json.loads((folder / "summary.json").read_text()) | {"minutes": minutes}


def main() -> None:
    prepare_console()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, required=True, help="new folder for the runs")
    options = parser.parse_intermixed_args()
    if options.out.exists():
        parser.error(f"--out: expected a new folder, got {options.out}, which exists")
    summaries = [
        run_seed(options.config, seed, options.out / f"seed_{seed}", options.overrides) for seed in options.seeds
    ]
    print("\n| seed | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 1))
    for seed, summary in zip(options.seeds, summaries, strict=True):
        print(f"| {seed} | " + " | ".join(f"{summary[key]:.3f}" for key in COLUMNS.values()) + " |")
    means = []
    for key in COLUMNS.values():
        values = [summary[key] for summary in summaries]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        means.append(f"{statistics.mean(values):.3f} ± {error:.3f}")
    print("| mean ± standard error | " + " | ".join(means) + " |")


if __name__ == "__main__":
    main()
