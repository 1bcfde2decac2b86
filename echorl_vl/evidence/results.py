"""Result files: OUT/results/NAME_TASK.json with all numbers, and a plot.

If the user changes keys, sizes or problem sets, a hash of these is added to the name, so that results coexist.
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
    """Analyse the finished runs of an experiment, write the result and draw the plot; returns the result."""
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
    """Return the file name of a result, without the suffix."""
    changed = _settings(setup)
    digest = hashlib.sha256(shlex.join(changed).encode()).hexdigest()[:6]
    return f"{name}_{setup.task}" + (f"_{digest}" if changed else "")


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the results in a folder, by file name.

    Raises:
        UserError: a file is not a result, or is one of an earlier version; names file and key.
    """
    results = {path.stem: read_json(path, _RESULT) for path in sorted(folder.glob("*.json"))}
    for name, result in results.items():
        for contrast in (*result["claims"], *result["others"]):
            if (verdict := contrast["verdict"]) not in VERDICTS:
                raise UserError(
                    f"{folder / name}.json, verdict: expected one of {', '.join(VERDICTS)}, got {verdict!r} of an "
                    "earlier version; run the experiment again"
                )
    return results


def command(name: str, setup: Setup) -> str:
    """Return the command line that produces this result."""
    words = [name, *(("--task", setup.task) if setup.is_task else ("--config", setup.config))]
    words += ["--seeds", *map(str, setup.seeds), "--out", "OUT", *_settings(setup)]
    return f"python -m eval.evidence {shlex.join(words)}"


def _settings(setup: Setup) -> list[str]:
    """Return the user's settings other than task and seeds, as words of the command line."""
    default_splits = TASKS[setup.task].splits if setup.is_task else {"test": setup.base.data.val_files}
    words = [f"{key}={value}" for key, value in setup.overrides.items()]
    for option in ("samples", "problems"):
        value = getattr(setup, option)
        words += [] if value == _DEFAULTS[option] else [f"--{option}", str(value)]
    if dict(setup.splits) != dict(default_splits):
        words += ["--test", *(f"{name}={spec}" for name, spec in setup.splits.items())]
    return words


def _environment(setup: Setup) -> dict[str, Any]:
    described = describe_environment(setup.base.trainer.device, setup.seeds[0])
    kept = ("echorl_vl", "git_commit", "python", "torch", "transformers", "platform", "cpus")
    return {name: described[name] for name in kept}
