"""What an experiment leaves: OUT/results/NAME_TASK.json, with every number, and a plot beside it.

Keys, sizes and problem sets of the user's own add a hash to the name, so that one does not take the other's place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.evaluation.folder import Keys, read_json, without_nan
from echorl_vl.evidence.experiment import Experiment, sentence
from echorl_vl.evidence.runs import Training
from echorl_vl.evidence.setup import TASKS, Setup
from echorl_vl.evidence.statistics import VERDICTS
from echorl_vl.evidence.store import Store
from echorl_vl.outputs import atomic
from echorl_vl.outputs.environment import describe_environment

FOLDER = "results"
_RESULT: Keys = {
    **dict.fromkeys(("experiment", "task", "command", "sentence"), str),
    **dict.fromkeys(("seeds", "claims", "others", "table.columns", "table.rows"), list),
    "steps": int,
    "seconds": int,
    "raw": dict,
}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Setup)}


def write_result(name: str, experiment: Experiment, setup: Setup, store: Store) -> dict[str, Any]:
    """Works an experiment's numbers out of its finished runs, writes and draws them; returns what was written."""
    results = experiment.analyse(setup, store)
    runs = {run.key: run for run in experiment.runs(setup)}.values()
    result = {
        "experiment": name,
        "title": experiment.title,
        "task": setup.task,
        "claim": experiment.claim,
        "verdict": results.verdict,
        "sentence": sentence(experiment, results, len(setup.seeds)),
        "command": command(name, setup),
        "seeds": list(setup.seeds),
        "steps": setup.steps,
        "seconds": round(sum(store.seconds(run) for run in runs)),
        "commits_of_runs": sorted({store.commit(run) or "unknown" for run in runs}),
        "versions_of_trainings": sorted({store.versions(run) for run in runs if isinstance(run, Training)}),
        "environment": _environment(setup),
        "claims": [contrast.to_json() for contrast in results.claims],
        "others": [contrast.to_json() for contrast in results.others],
        "table": {"columns": results.table.columns, "rows": results.table.rows},
        "raw": results.raw,
    }
    result = json.loads(json.dumps(without_nan(result)))
    path = store.out / FOLDER / f"{result_name(name, setup)}.json"
    atomic.write_text(path, json.dumps(result, indent=1) + "\n")
    experiment.draw(result["raw"], path.with_suffix(".png"))
    return result


def result_name(name: str, setup: Setup) -> str:
    """The name of an experiment's result, without the suffix."""
    own = _settings(setup)
    return f"{name}_{setup.task}" + (f"_{hashlib.sha256(shlex.join(own).encode()).hexdigest()[:6]}" if own else "")


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """The results in a folder, by the names of their files.

    Raises UserError, naming file and key, for a file that is something else or of an earlier version.
    """
    results = {path.stem: read_json(path, _RESULT) for path in sorted(folder.glob("*.json"))}
    for name, result in results.items():
        for contrast in (*result["claims"], *result["others"]):
            if (verdict := contrast["verdict"]) not in VERDICTS:
                raise UserError(
                    f"{folder / name}.json, verdict: expected one of {', '.join(VERDICTS)}, got {verdict!r} of an "
                    "earlier version; make the result again"
                )
    return results


def command(name: str, setup: Setup) -> str:
    """The command line that makes this result."""
    words = [name, *(("--task", setup.task) if setup.is_task else ("--config", setup.config))]
    words += ["--seeds", *map(str, setup.seeds), "--out", "OUT", *_settings(setup)]
    return f"python -m eval.evidence {shlex.join(words)}"


def _settings(setup: Setup) -> list[str]:
    """What the user has set beside the task and the seeds, as words of the command line."""
    own = TASKS[setup.task].splits if setup.is_task else {"test": setup.base.data.val_files}
    words = [f"{key}={value}" for key, value in setup.overrides.items()]
    for option in ("samples", "problems"):
        value = getattr(setup, option)
        words += [] if value == _DEFAULTS[option] else [f"--{option}", str(value)]
    if dict(setup.splits) != dict(own):
        words += ["--test", *(f"{name}={spec}" for name, spec in setup.splits.items())]
    return words


def _environment(setup: Setup) -> dict[str, Any]:
    described = describe_environment(setup.base.trainer.device, setup.seeds[0])
    kept = ("echorl_vl", "git_commit", "python", "torch", "transformers", "platform", "cpus")
    return {name: described[name] for name in kept}
