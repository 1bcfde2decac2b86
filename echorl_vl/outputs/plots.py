"""PNG plots of a run, drawn from what lies in its folder.

    echorl plots RUN                       draws RUN/plots/*.png again
    echorl plots RUN_A RUN_B --out DIR     lays several runs over each other

Each file answers one question: learning.png (does it learn?), degeneration.png (how many groups give no gradient?),
echo.png (what does EchoRL add?), entropy.png and examples.png (where is the policy unsure, and what is mined?),
timing.png (where does the time go?); summary.png has the first three and an example on one page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.errors import UserError
from echorl_vl.outputs import plot_examples, plot_rollouts, plot_style
from echorl_vl.outputs import plot_panels as panels
from echorl_vl.outputs.command import job, make_parser, parse_arguments
from echorl_vl.outputs.log import is_quiet
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_style import (
    CYCLE,
    dress,
    errorbars,
    label_ends,
    percent_axis,
    plt,
    raw_and_smooth,
    save,
    step_axis,
)
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files
from echorl_vl.outputs.terminal import visible

_ALONE = (0.1, 0.12, 0.71, 0.735)  # axes of the only panel of a figure


def write_plots(run_folder: str | Path) -> list[Path]:
    """Draws all plots of a run into its folder `plots` and returns their paths.

    Whatever the run has not recorded (an older one, one without pictures) is left out. Raises UserError where the
    folder has no metrics.jsonl or can't be written.
    """
    folder = Path(run_folder)
    run = RunData.read(folder)
    out = folder / "plots"
    rows = _latest_rollouts(folder)
    written: list[Path] = []
    with plot_style.style():
        if len(run.steps):
            written.append(_single(out / "learning.png", panels.learning, run))
            if run.has(names.ALL_SUCCESS):
                written.append(save(_degeneration_figure(run), out / "degeneration.png"))
            if run.has(names.ECHO_LOSS) or run.has(names.ECHO_CLIPS):
                written.append(save(_echo_figure(run), out / "echo.png"))
            if run.phases():
                written.append(_single(out / "timing.png", panels.timing, run))
        if any(row["step_entropies"] for row in rows):
            written.append(save(plot_rollouts.entropy_figure(rows), out / "entropy.png"))
            if plot_examples.choose_examples(rows, 1):
                written.append(save(plot_examples.examples_figure(rows), out / "examples.png"))
        if len(run.steps) and run.has(names.ALL_SUCCESS):
            written.append(save(_summary_figure(run, rows), out / "summary.png"))
    return written


def compare(folders: Sequence[str | Path], out: str | Path, labels: Sequence[str] | None = None) -> list[Path]:
    """Lays accuracy and degeneration of several runs over each other, named by their folders or by `labels`.

    Validation accuracy where any run has some: a run without is then named and not drawn. Else training accuracy.
    """
    runs = [RunData.read(folder) for folder in folders]
    named = dict(zip(labels or _short_names(runs), runs, strict=True))
    left_out = [label for label, run in named.items() if not len(run.heldout()[0])]
    smoothed = "each step and its moving mean"
    if len(left_out) < len(named):
        title, subtitle, column = "Validation accuracy of the runs", "Mean over problems, ± standard error", None
        subtitle += f"; without a validation: {', '.join(left_out)}" if left_out else ""
    else:
        title, subtitle = "Training accuracy of the runs", f"No run has a validation; {smoothed}"
        column = names.ACCURACY
    degenerate = f"Share of groups whose rewards are all equal; {smoothed}"
    with plot_style.style():
        return [
            _overlay(Path(out) / "learning.png", named, title, subtitle, "accuracy", column),
            _overlay(
                Path(out) / "degeneration.png",
                named,
                "Groups without a policy gradient",
                degenerate,
                "share of groups",
                names.DEGENERATE,
            ),
        ]


def _single(path: Path, draw: Callable, run: RunData) -> Path:
    figure = plt.figure(figsize=(7.6, 4.3))
    draw(figure.add_axes(_ALONE), run)
    return save(figure, path)


def _degeneration_figure(run: RunData):
    """Groups, and beside them tokens: shares of different things, so on axes of their own."""
    if not run.has(names.ZERO_ADVANTAGE):
        figure = plt.figure(figsize=(7.6, 4.3))
        panels.degeneration(figure.add_axes(_ALONE), run)
        return figure
    figure = plt.figure(figsize=(12.4, 4.3))
    _draw(
        figure,
        run,
        {panels.degeneration: (0.06, 0.12, 0.355, 0.735), panels.zero_advantage: (0.555, 0.12, 0.355, 0.735)},
    )
    return figure


def _echo_figure(run: RunData):
    figure = plt.figure(figsize=(12.4, 8.2))
    boxes = [(0.06 + 0.495 * column, 0.55 - 0.485 * row, 0.355, 0.335) for row in (0, 1) for column in (0, 1)]
    drawn = (panels.echo_loss, panels.step_entropy, panels.clip_share, panels.gradients)
    _draw(figure, run, dict(zip(drawn, boxes, strict=True)))
    return figure


def _draw(figure, run: RunData, boxes: dict[Callable, tuple[float, float, float, float]]) -> None:
    """Draws panels into the axes at these places, which are all there first: titles keep out of each other's way."""
    for axes, draw in [(figure.add_axes(box), draw) for draw, box in boxes.items()]:
        draw(axes, run)


def _summary_figure(run: RunData, rows: list[dict]):
    """Three panels, and below them an example or two."""
    chosen = plot_examples.choose_examples(rows, 2) if rows else []
    wide, share, room, height = 15.2, 0.956 if len(chosen) == 1 else 0.46, 0.0, 4.6
    if chosen:
        room = min(2.45, max(plot_examples.example_height(row, share * wide, picture) for row, picture in chosen))
        height = 5.15 + room
    figure = plt.figure(figsize=(wide, height))
    bottom = 1 - 3.82 / height
    boxes = [(0.052 + 0.332 * index, bottom, 0.215, 3.2 / height) for index in range(3)]
    drawn = (panels.learning, panels.degeneration, panels.step_entropy)
    _draw(figure, run, dict(zip(drawn, boxes, strict=True)))
    if chosen:
        norm = plot_style.heat_norm([value for row in rows for value in row["step_entropies"] or ()])
        figure.text(
            0.022,
            (room + 0.55) / height,
            f"EchoClips (blue rule) of step {rows[0]['step']}: correct answers up to the step chosen for its entropy",
            fontsize=11.5,
            fontweight="bold",
        )
        for index, (row, picture) in enumerate(chosen):
            box = (0.022 + 0.496 * index, 0.3 / height, share, room / height)
            plot_examples.draw_example(figure, box, row, picture, norm)
    return figure


def _overlay(path: Path, runs: dict[str, RunData], title: str, subtitle: str, ylabel: str, column: str | None) -> Path:
    """One line a run: a column, or the validations for None."""
    figure = plt.figure(figsize=(7.9, 4.3))
    axes = figure.add_axes((0.095, 0.125, 0.68, 0.71))
    ends = []
    for index, (label, run) in enumerate(runs.items()):
        colour = CYCLE[index % len(CYCLE)]
        if column is not None:
            ends.append((raw_and_smooth(axes, run.steps, run.get(column), colour), label, colour))
            continue
        steps, values, errors = run.heldout()
        if len(steps):
            errorbars(axes, steps, values, errors, color=colour, markersize=5, linewidth=1.8, elinewidth=1.2)
            ends.append((values[-1], label, colour))
    step_axis(axes, np.concatenate([run.steps for run in runs.values()]))
    percent_axis(axes, 0, 1.01)
    dress(axes, title, subtitle, ylabel)
    label_ends(axes, ends)
    return save(figure, path)


def _short_names(runs: Sequence[RunData]) -> list[str]:
    """Folder names; where two are the same, with the folder above."""
    own = [run.name for run in runs]
    names = [f"{run.path.absolute().parent.name}/{run.name}" if own.count(run.name) > 1 else run.name for run in runs]
    return list(map(visible, names))


def _latest_rollouts(folder: Path) -> list[dict]:
    """Rows of the newest readable file of training rollouts, or of the validation where there is none."""
    for kind in ("rollouts", "validation"):
        for _, path in sorted(rollout_files(folder, kind).items(), reverse=True):
            try:
                return read_rollouts(path)
            except UserError:
                continue
    return []


@job
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = make_parser("plots", "echorl_vl.outputs.plots", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, e.g. checkpoints/echorl/geo3k_tiny")
    parser.add_argument("--out", help="folder for the plots of several runs")
    options = parse_arguments(parser, arguments)
    if options.out:
        written = compare(options.runs, options.out)
    else:
        written = [path for run in options.runs for path in write_plots(run)]
    if not is_quiet():
        print("\n".join(visible(str(path)) for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
