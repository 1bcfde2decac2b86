"""What a run came to, in a few numbers read back from its metrics.jsonl."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.no_clip import why_no_clip, why_no_term
from echorl_vl.outputs.plot_data import HINT_TOKENS, RunData, ends

Row = tuple[str, ...]

HEADS = ("", "start", "end", "steps")
_MEASURED = (
    ("training accuracy", names.ACCURACY, "{:.1%}"),
    ("groups that all succeed", names.ALL_SUCCESS, "{:.1%}"),
    ("groups that all fail", names.ALL_FAIL, "{:.1%}"),
    ("degenerate groups", names.DEGENERATE, "{:.1%}"),
    ("echo loss", names.ECHO_LOSS, "{:.4f}"),
    ("echo clips a step", names.ECHO_CLIPS, "{:.1f}"),
    ("seconds a step", "timing_s/step", "{:.2f}"),
)


def summarize(run: Path) -> tuple[list[Row], dict[str, Any]]:
    """(rows of a table under `HEADS`, the same numbers by name for summary.json).

    Validation accuracy is that of the validation before training, where there was one, and of the last, with standard
    errors. What is measured in training is the mean of the first and of the last steps, as in the plots (`ends`). The
    last column says which steps. Numbers that the run didn't measure are left out.
    """
    data = RunData.read(run)
    rows: list[Row] = []
    facts: dict[str, Any] = {"steps": int(data.steps.max(initial=0))}
    steps, accuracy, error = data.heldout()
    if len(steps):
        trained = data.steps[np.isfinite(data.get(names.ACCURACY))]
        edges = {"before": 0, "after": -1}
        if not len(trained) or steps[0] >= trained[0]:  # no validation came before the first training step
            del edges["before"]
        elif steps[-1] < trained[0]:  # and none after it
            del edges["after"]
        shown = {name: _accuracy(accuracy[index], error[index]) for name, index in edges.items()}
        which = " and ".join(str(steps[index]) for index in edges.values())
        rows.append(("validation accuracy", shown.get("before", "-"), shown.get("after", "-"), which))
        for name, index in edges.items():
            facts[f"val/accuracy_{name}"] = float(accuracy[index])
            facts[f"val/accuracy_se_{name}"] = float(error[index]) or None
    for title, key, form in _MEASURED:
        if key == names.ACCURACY and data.has(HINT_TOKENS):
            title += ", hints included"
        if key == names.ECHO_LOSS and data.has(names.ECHO_CLIPS) and not data.has_clips():
            continue  # the sum over no clip
        first, last, count = ends(data.get(key))
        if count:
            rows.append((title, form.format(first), form.format(last), f"first {count}, last {count}"))
            facts[f"{key}_first"], facts[f"{key}_last"] = first, last
    if reason := no_clip_in(data):
        rows.append(("no echo clip", "", "", reason))
        facts["echo/no_clip"] = reason
    return rows, facts


def no_clip_in(data: RunData) -> str:
    """Why a run with the echo term has no clip in any step, or in how many it has none; "" where all steps have one."""
    counts = data.get(names.ECHO_CLIPS)
    counts = counts[np.isfinite(counts)]
    if not len(counts):
        coefs = data.get(names.ECHO_COEF)
        if not np.isfinite(coefs).any():
            return ""
        return why_no_term(data.echo.get("coef") or 0.0, data.echo.get("start_step") or 0, int(data.steps.max()))
    if not counts.any():
        return why_no_clip(data.totals())
    without = int((counts == 0).sum())
    return f"in {without} of {len(counts)} steps with the term" if without else ""


def _accuracy(value: float, error: float) -> str:
    return f"{value:.1%}" + (f" ± {error:.1%}" if error and math.isfinite(error) else "")
