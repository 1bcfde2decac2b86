"""Plots of several runs in one: a line a configuration, the interval over its seeds, and how configurations differ."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.plot_curves import CURVES, OVERALL_REWARD, Curve, set_axis
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_style import (
    CYCLE,
    INK,
    dress,
    errorbars,
    first_upper,
    label_ends,
    new_figure,
    panel_grid,
    percent_axis,
    raw_and_smooth,
    save,
    smooth,
    step_axis,
    style,
    text_colour,
    window_for,
)
from echorl_vl.outputs.seeds import LEAST_SEEDS, RunGroup, difference_table, group_runs, mean_interval
from echorl_vl.outputs.terminal import visible

Label = tuple[float, str, str]  # y, text, colour of a line's end

WIDTH, PANEL_HEIGHT = 8.6, 4.2  # inches
TABLE_COLUMNS, TABLE_ROWS = 88, 16  # characters and lines
TABLE_POINTS, TABLE_LINE = 8.6, 0.17
LABEL_COLUMNS, NOTE_COLUMNS = 22, 112  # characters of a label at a line's end, and of a note


def compare(folders: Sequence[str | Path], out: str | Path, labels: Sequence[str] | None = None) -> list[Path]:
    """Plots several runs together: learning.png, degeneration.png and curves.png in the folder `out`.

    Runs that differ only in their seeds are one line with its interval over the seeds. Below each plot is a table of
    the configuration keys in which the lines differ.

    Args:
        folders: run folders.
        out: where the plots go.
        labels: names of the runs; by default those of their folders.

    Returns:
        The files that were written.
    """
    groups = read_groups(folders, labels)
    with style():
        figures = {"learning.png": accuracy_figure(groups), "degeneration.png": degeneration_figure(groups)}
        if curves := [curve for curve in (CURVES[0], OVERALL_REWARD, *CURVES[1:]) if _is_known(groups, curve.columns)]:
            figures["curves.png"] = curves_figure(groups, curves)
        return [save(figure, Path(out) / name) for name, figure in figures.items()]


def read_groups(folders: Sequence[str | Path], labels: Sequence[str] | None = None) -> list[RunGroup]:
    """The runs in these folders, grouped by configuration. `labels` name the runs instead of their folders."""
    runs = [RunData.read(folder) for folder in folders]
    return group_runs(runs, labels or short_names(runs))


def short_names(runs: Sequence[RunData]) -> list[str]:
    """The names of the runs' folders; a name that occurs twice comes with the folder above."""
    every = [run.name for run in runs]
    return [
        visible(f"{run.path.absolute().parent.name}/{run.name}" if every.count(run.name) > 1 else run.name)
        for run in runs
    ]


def accuracy_figure(groups: Sequence[RunGroup]) -> Figure:
    """Validation accuracy if any run has it: groups without one are named and left out. Else training accuracy."""
    without = [group.label for group in groups if not _validated(group)]
    if len(without) == len(groups):
        subtitle = f"No run has a validation; {_smoothing(groups)}"
        return _shares_figure(groups, (names.ACCURACY,), "Training accuracy of the runs", subtitle, "accuracy")
    notes = ["Mean over problems"]
    if any(len(_validated(group)) == 1 for group in groups):
        notes[0] += ", ± standard error"
    if seeds := _seeds_note(groups):
        notes.append(seeds)
    notes += [f"without a validation: {', '.join(without)}"] if without else []
    return _shares_figure(groups, None, "Validation accuracy of the runs", "; ".join(notes), "accuracy")


def degeneration_figure(groups: Sequence[RunGroup]) -> Figure:
    """The share of rollout groups without a policy gradient."""
    subtitle = f"Share of groups whose rewards are all equal; {_smoothing(groups)}"
    title = "Groups without a policy gradient"
    return _shares_figure(groups, (names.DEGENERATE,), title, subtitle, "share of groups")


def curves_figure(groups: Sequence[RunGroup], curves: Sequence[Curve]) -> Figure:
    """The standard curves, one panel each, with a common legend and the table of differences."""
    table = _table(groups)
    notes = textwrap.wrap(first_upper(_smoothing(groups)), NOTE_COLUMNS)
    legend = 0.15 + 0.19 * (len(notes) + len(groups))
    below = legend + (0.25 + TABLE_LINE * len(table) if table else 0.1)
    figure, grid = panel_grid(len(curves), below, labels=False)
    height = figure.get_figheight()
    for curve, axes in zip(curves, grid, strict=True):
        label, columns = next(iter(curve.columns.items()))
        _draw_training(axes, groups, columns)
        values = np.concatenate([run.get(*columns) for group in groups for run in group.runs])
        outliers = set_axis(axes, curve, _steps(groups), values, what="value")
        title = f"{curve.name} ({label})" if label else curve.name
        dress(axes, title, f"{curve.subtitle}{outliers}", curve.ylabel)
    lines = [(note, INK, "normal") for note in notes]
    for group, colour in zip(groups, _colours(groups), strict=True):
        lines.append((f"━  {textwrap.shorten(group.title(), NOTE_COLUMNS)}", text_colour(colour), "bold"))
    for index, (text, colour, weight) in enumerate(lines):
        y = (below - 0.05 - 0.19 * index) / height
        figure.text(0.03, y, text, fontsize=9, fontweight=weight, color=colour, va="top")
    _write_table(figure, table)
    return figure


def _shares_figure(
    groups: Sequence[RunGroup], columns: tuple[str, ...] | None, title: str, subtitle: str, ylabel: str
) -> Figure:
    """One panel of shares, a line a group: of these columns, or of the validations for None."""
    table = _table(groups)
    below = 0.15 + TABLE_LINE * len(table) if table else 0.0
    height = PANEL_HEIGHT + below
    figure = new_figure(WIDTH, height)
    axes = figure.add_axes((0.095, (below + 0.55) / height, 0.68, (PANEL_HEIGHT - 1.35) / height))
    labels = _draw_validations(axes, groups) if columns is None else _draw_training(axes, groups, columns)
    step_axis(axes, _steps(groups))
    percent_axis(axes, 0, 1.01)
    dress(axes, title, subtitle, ylabel)
    label_ends(axes, labels)
    _write_table(figure, table)
    return figure


def _draw_training(axes, groups: Sequence[RunGroup], columns: tuple[str, ...]) -> list[Label]:
    """Moving means of a metric: of one run with its raw values, of several the mean and its interval."""
    labels = []
    for group, colour in zip(groups, _colours(groups), strict=True):
        runs = [run for run in group.runs if run.has(*columns)]
        if len(runs) == 1:
            end = raw_and_smooth(axes, runs[0].steps, runs[0].get(*columns), colour, width=1.8)
            labels.append((end, _wrapped(group, len(runs)), colour))
        elif runs:
            lines = []
            for run in runs:
                known = np.isfinite(run.get(*columns))
                values = run.get(*columns)[known]
                lines.append((run.steps[known], smooth(values, window_for(len(values)))))
            labels.append((_draw_seeds(axes, lines, colour), _wrapped(group, len(runs)), colour))
    return labels


def _draw_validations(axes, groups: Sequence[RunGroup]) -> list[Label]:
    """Validation accuracy: of one run with its standard error, of several the mean and its interval."""
    labels = []
    for group, colour in zip(groups, _colours(groups), strict=True):
        runs = _validated(group)
        if len(runs) == 1:
            steps, values, errors = runs[0].validations()
            errorbars(axes, steps, values, errors, color=colour, markersize=5, linewidth=1.8, elinewidth=1.2)
            labels.append((float(values[-1]), _wrapped(group, len(runs)), colour))
        elif runs:
            end = _draw_seeds(axes, [run.validations()[:2] for run in runs], colour, marker="o")
            labels.append((end, _wrapped(group, len(runs)), colour))
    return labels


def _draw_seeds(axes, lines: Sequence[tuple[np.ndarray, np.ndarray]], colour: str, marker: str | None = None) -> float:
    """The mean of several runs over the steps that all of them have, and its interval; of few seeds each run.

    lines: (steps, values) of each run.

    Returns:
        The last mean; NaN if the runs have no step in common.
    """
    by_step = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in lines]
    steps = np.array(sorted(set.intersection(*(set(values) for values in by_step))))
    if not len(steps):
        return float("nan")
    values = np.array([[run[step] for step in steps.tolist()] for run in by_step])
    mean, low, high = mean_interval(values)
    if len(values) < LEAST_SEEDS:
        for run in values:
            axes.plot(steps, run, color=colour, linewidth=0.9, alpha=0.5)
    axes.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
    marker = marker or ("o" if len(steps) == 1 else None)
    axes.plot(steps, mean, color=colour, linewidth=2, marker=marker, markersize=5, clip_on=marker is None)
    return float(mean[-1])


def _table(groups: Sequence[RunGroup]) -> list[str]:
    """Lines of the table of differences, cut to what a figure has room for."""
    if len(groups) < 2:
        return []
    if not groups[0].config:
        return ["No difference is known: a config.yaml can't be read."]
    lines = difference_table(groups, TABLE_COLUMNS)
    left_out = len(lines) - TABLE_ROWS
    return lines if left_out <= 0 else [*lines[: TABLE_ROWS - 1], f"... {left_out + 1} more lines"]


def _write_table(figure: Figure, lines: Sequence[str]) -> None:
    """Writes the lines at the bottom of the figure, in a face of equal widths."""
    for index, line in enumerate(reversed(lines)):
        y = (0.12 + TABLE_LINE * index) / figure.get_figheight()
        weight = "bold" if line is lines[0] else "normal"
        figure.text(0.03, y, line, fontsize=TABLE_POINTS, family="DejaVu Sans Mono", fontweight=weight, va="bottom")


def _smoothing(groups: Sequence[RunGroup]) -> str:
    """What the lines of training metrics are."""
    seeds = {len(group.runs) > 1 for group in groups}
    lines = "moving means, with each step of single runs" if len(seeds) > 1 else "moving means"
    note = "each step and its moving mean" if seeds == {False} else lines
    return "; ".join(filter(None, (note, _seeds_note(groups))))


def _seeds_note(groups: Sequence[RunGroup]) -> str:
    """What the lines of several seeds are; "" without such lines."""
    notes = []
    if any(len(group.runs) >= LEAST_SEEDS for group in groups):
        notes.append("band: 95 % interval of the mean over seeds (Student's t)")
    if any(1 < len(group.runs) < LEAST_SEEDS for group in groups):
        notes.append("2 seeds: the mean, and each run as a thin line")
    return "; ".join(notes)


def _wrapped(group: RunGroup, shown: int) -> str:
    return "\n".join(textwrap.wrap(group.title(shown), LABEL_COLUMNS, max_lines=3, placeholder=" ..."))


def _colours(groups: Sequence[RunGroup]) -> list[str]:
    return [CYCLE[index % len(CYCLE)] for index in range(len(groups))]


def _validated(group: RunGroup) -> list[RunData]:
    return [run for run in group.runs if len(run.validations()[0])]


def _is_known(groups: Sequence[RunGroup], columns: dict[str, tuple[str, ...]]) -> bool:
    return any(run.has(*next(iter(columns.values()))) for group in groups for run in group.runs)


def _steps(groups: Sequence[RunGroup]) -> np.ndarray:
    return np.concatenate([run.steps for group in groups for run in group.runs])
