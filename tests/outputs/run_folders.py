"""Run folders with empty checkpoints, for tests of the choice of a folder and of resuming."""

from __future__ import annotations

import json
from pathlib import Path

from echorl_vl.outputs.run_folder import RunFolder

CONFIG = "data: {seed: 1}\ntrainer: {max_steps: 10, logger: [console]}\n"


def newest_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob("global_step_*"), key=lambda path: int(path.name[12:]), default=None)


def start(path: Path, config: str = CONFIG, resume: bool = True, **more) -> RunFolder:
    return RunFolder.open(path, config, resume, find_checkpoint=newest_checkpoint, **more)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def saved_run(path: Path, *steps: int, config: str = CONFIG, finished: bool = False) -> Path:
    """A run folder with (empty) checkpoints and a row of metrics a step."""
    with start(path, config) as run:
        run.write_environment("cpu", 1)
        for step in steps:
            (run.path / f"global_step_{step}").mkdir()
        rows = [json.dumps({"step": step}) + "\n" for step in range(1, max(steps, default=0) + 1)]
        run.metrics_file.write_text("".join(rows))
        if finished:
            run.finish()
    return run.path
