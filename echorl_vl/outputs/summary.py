"""The summary of a run, computed from its metrics.jsonl, and the end of a run, which writes it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.command import program
from echorl_vl.outputs.plot_data import HINT_TOKENS, RunData, ends, has_gaps, over_clips
from echorl_vl.shares import percent

if TYPE_CHECKING:
    from echorl_vl.outputs.display import Display
    from echorl_vl.outputs.run_folder import RunFolder

logger = logging.getLogger(__name__)

Row = tuple[str, ...]

HEADS = ("", "first", "last", "steps")
_percent = partial(percent, decimals=1, sign="%")
_MEASURED = (
    ("training accuracy", names.ACCURACY, _percent),
    ("all-success groups", names.ALL_SUCCESS, _percent),
    ("all-fail groups", names.ALL_FAIL, _percent),
    ("degenerate groups", names.DEGENERATE, _percent),
    ("echo loss, nats", names.ECHO_LOSS, "{:.4f}".format),
    ("EchoClips per step", names.ECHO_CLIPS, "{:.1f}".format),
    ("seconds per step", "timing_s/step", "{:.2f}".format),
)
_LEFT_OUT = {
    names.ECHO_LEFT_OUT_TRUNCATED: "truncated",
    names.ECHO_LEFT_OUT_MIXED: "in groups of unequal rewards",
    names.ECHO_LEFT_OUT_SHORT: "without a step that is long enough",
}


def summarize(run: Path) -> tuple[list[Row], dict[str, Any]]:
    """Summarizes a run folder.

    Validation accuracies are those before the first training step and of the last validation, with their standard
    errors. Training metrics are means over the first and the last steps, as in the plots (`ends`); the last column
    names the steps. Metrics that the run didn't log are left out.

    Returns:
        (rows of a table with the heads `HEADS`, the same numbers by name for summary.json).
    """
    data = RunData.read(run)
    rows: list[Row] = []
    facts: dict[str, Any] = {"steps": int(data.steps.max(initial=0))}
    steps, accuracy, error = data.validations()
    if len(steps):
        trained = data.steps[np.isfinite(data.get(names.ACCURACY))]
        edges = {"before": 0, "after": -1}
        if not len(trained) or steps[0] >= trained[0]:  # no validation before the first training step
            del edges["before"]
        elif steps[-1] < trained[0]:  # no validation after it
            del edges["after"]
        shown = {name: _accuracy(accuracy[index], error[index]) for name, index in edges.items()}
        which = "step " + " / step ".join(str(steps[index]) for index in edges.values())
        rows.append(("validation accuracy", shown.get("before", "-"), shown.get("after", "-"), which))
        for name, index in edges.items():
            facts[f"val/accuracy_{name}"] = float(accuracy[index])
            facts[f"val/accuracy_se_{name}"] = float(error[index]) or None
    for title, key, form in _MEASURED:
        if key == names.ACCURACY and data.has(HINT_TOKENS):
            title += ", hints included"
        if key == names.ECHO_LOSS and data.has(names.ECHO_CLIPS) and not data.has_clips():
            continue  # 0, because no clip contributes to it
        values, missing = data.get(key), "a value"
        if key == names.ECHO_LOSS:
            missing = "a clip" if over_clips(data.echo) else "the term"
            if data.clipless() and not over_clips(data.echo):
                title = "echo loss, 0 if no clip"
        first, last, count = ends(values)
        if count:
            which = f"first {count} / last {count}" + (f" with {missing}" if has_gaps(data, values) else "")
            rows.append((title, form(first), form(last), which))
            facts[f"{key}_first"], facts[f"{key}_last"] = first, last
    if reason := no_clip_in(data):
        rows.append(("no EchoClip", "", "", reason))
        facts["echo/no_clip"] = reason
    return rows, facts


def no_clip_in(data: RunData) -> str:
    """Why a run with the echo term has no clip, or in how many steps it has none; "" if every step has one."""
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
    return _percent(value) + (f" ± {error:.1%}" if error and math.isfinite(error) else "")


def why_no_clip(metrics: Mapping[str, float]) -> str:
    """The reason for a step without a clip: "12 verified rollouts, all truncated".

    Args:
        metrics: metrics of one step, or their sums over several.

    Returns:
        The reason; "" if there are clips or no mining took place.
    """
    if metrics.get(names.ECHO_CLIPS) != 0:
        return ""
    verified = metrics.get(names.ECHO_VERIFIED)
    if verified is None:  # a run of an older version, which did not log it
        return "the reason was not recorded"
    if not verified:
        return "no rollout was verified"
    left_out = {reason: metrics[name] for name, reason in _LEFT_OUT.items() if metrics.get(name)}
    rollouts = f"{verified:.0f} verified rollout{'' if verified == 1 else 's'}"
    if len(left_out) == 1:
        (reason,) = left_out
        return f"{rollouts}, {'it is' if verified == 1 else 'all'} {reason}"
    return f"{rollouts}: " + ", ".join(f"{count:.0f} {reason}" for reason, count in left_out.items())


def why_no_term(coef: float, start_step: int, step: int) -> str:
    """Why the echo term is 0 at training step `step` (the first is 1); "" if `coef`, `echo.coef`, is 0."""
    if not coef:
        return ""
    return f"term not started, echo.start_step is {start_step}" if step <= start_step else "term has decayed to 0"


def finish_run(folder: RunFolder, display: Display) -> None:
    """Draws the plots, marks the run as finished and shows the summary. A failed plot does not fail the run.

    If it is killed, the same command repeats this and trains no more.
    """
    from echorl_vl.outputs.plots import write_plots  # here: slow to import

    folder.mark_trained()
    rows, facts = summarize(folder.path)
    display.phase("plots")
    plots = []
    try:
        plots = write_plots(folder.path)
    except Exception as error:  # the run is complete without its plots
        again = f"{program('plots', 'echorl_vl.outputs.plots')} {folder.path}"
        logger.warning("the plots failed (%s: %s); draw them with %s", type(error).__name__, error, again)
    folder.finish(facts)
    display.summary(rows, [folder.metrics_file, *plots, *sorted(folder.path.glob("global_step_*"))])
