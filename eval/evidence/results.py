"""What an experiment leaves: OUT/results/NAME_TASK.json, with every number, and a plot beside it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from echorl_vl.outputs.environment import describe_environment
from eval.evidence.experiment import Experiment, sentence
from eval.evidence.setup import TASKS, Setup
from eval.evidence.store import Store
from eval.folder import without_nan

FOLDER = "results"
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Setup)}


def write_result(name: str, experiment: Experiment, setup: Setup, store: Store) -> dict[str, Any]:
    """Works an experiment's numbers out of its finished cells, writes and draws them; returns what was written."""
    findings = experiment.analyse(setup, store)
    cells = {cell.key: cell for cell in experiment.cells(setup)}.values()
    result = {
        "experiment": name,
        "title": experiment.title,
        "task": setup.task,
        "claim": experiment.claim,
        "verdict": findings.verdict,
        "sentence": sentence(experiment, findings, len(setup.seeds)),
        "command": command(name, setup),
        "seeds": list(setup.seeds),
        "steps": setup.steps,
        "seconds": round(sum(store.seconds(cell) for cell in cells)),
        "commits_of_cells": sorted({store.commit(cell) or "unknown" for cell in cells}),
        "environment": _environment(setup),
        "claims": [contrast.to_json() for contrast in findings.claims],
        "others": [contrast.to_json() for contrast in findings.others],
        "table": {"columns": findings.table.columns, "rows": findings.table.rows},
        "raw": findings.raw,
    }
    result = json.loads(json.dumps(without_nan(result)))
    path = store.out / FOLDER / f"{name}_{setup.task}.json"
    atomic.write_text(path, json.dumps(result, indent=1) + "\n")
    experiment.draw(result["raw"], path.with_suffix(".png"))
    return result


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results in a folder, in order of experiment and task. Raises UserError for a file that is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text())
            result["experiment"], result["task"], result["table"]["rows"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a result of an experiment ({type(error).__name__}: {error})") from error
        found.append(result)
    return found


def command(name: str, setup: Setup) -> str:
    """The command line that makes this result."""
    words = [name, *(("--task", setup.task) if setup.is_task else ("--config", setup.config))]
    if not setup.is_task or dict(setup.splits) != dict(TASKS[setup.task].splits):
        words += ["--test", *(f"{name}={spec}" for name, spec in setup.splits.items())]
    for option in ("samples", "problems"):
        value = getattr(setup, option)
        words += [] if value == _DEFAULTS[option] else [f"--{option}", str(value)]
    words += ["--seeds", *map(str, setup.seeds), "--out", "OUT"]
    words += [f"{key}={value}" for key, value in setup.overrides.items()]
    return f"python -m eval.evidence {shlex.join(words)}"


def _environment(setup: Setup) -> dict[str, Any]:
    described = describe_environment(setup.base.trainer.device, setup.seeds[0])
    kept = ("echorl_vl", "git_commit", "python", "torch", "transformers", "platform", "cpus")
    return {name: described[name] for name in kept}
