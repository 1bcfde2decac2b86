"""PNG plots of a run, drawn from its folder.

    echorl plots RUN                       draws RUN/plots/*.png again
    echorl plots RUN_A RUN_B --out DIR     plots several runs together

Each file answers one question: learning.png (does it learn?), degeneration.png (how many groups have no gradient?),
echo.png (what does EchoRL add?), entropy.png and examples.png (where is the entropy high, and what is mined?),
timing.png (where does the time go?); curves.png has the standard curves of RL. summary.png shows the most important
panels and an example.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from echorl_vl.core import metric_names as names
from echorl_vl.errors import UserError
from echorl_vl.outputs import plot_curves, plot_echo, plot_examples, plot_rollouts, plot_style
from echorl_vl.outputs import plot_panels as panels
from echorl_vl.outputs.command import job, make_parser, parse_arguments
from echorl_vl.outputs.entropy_scale import EntropyScale
from echorl_vl.outputs.log import is_quiet
from echorl_vl.outputs.plot_compare import compare, read_groups
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_style import GRID_WIDTH, panel_grid, save
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files
from echorl_vl.outputs.seeds import difference_table
from echorl_vl.outputs.terminal import visible

Panel = Callable[..., None]  # draws a run into axes: (axes, run)


def write_plots(run_folder: str | Path) -> list[Path]:
    """Draws all plots of a run into its folder `plots`.

    What the run has not recorded (an older run, a run without images) is left out.

    Returns:
        The files that were written.

    Raises:
        UserError: the folder has no metrics.jsonl or can't be written.
    """
    folder = Path(run_folder)
    run = RunData.read(folder)
    rows = _latest_rollouts(folder)
    with plot_style.style():
        return [save(figure, folder / "plots" / name) for name, figure in _figures(run, rows).items()]


def _figures(run: RunData, rows: list[dict]) -> dict[str, Figure]:
    """File name -> figure, for everything that the run has recorded."""
    figures: dict[str, Figure] = {}
    if len(run.steps):
        figures["learning.png"] = _grid(run, [panels.learning])
        if run.has(names.ALL_SUCCESS):
            tokens = [panels.zero_advantage] if run.has(names.ZERO_ADVANTAGE) else []
            figures["degeneration.png"] = _grid(run, [panels.degeneration, *tokens])
        if run.has(names.ECHO_LOSS) or run.has(names.ECHO_CLIPS):
            figure_panels = [plot_echo.echo_loss, plot_echo.step_entropy, plot_echo.clip_share, plot_echo.gradients]
            figures["echo.png"] = _grid(run, figure_panels)
        if curves := plot_curves.curves_of(run):
            figures["curves.png"] = _grid(run, [plot_curves.panel(curve) for curve in curves])
        if run.phases():
            figures["timing.png"] = _grid(run, [panels.timing])
    if any(row["step_entropies"] for row in rows):
        figures["entropy.png"] = plot_rollouts.entropy_figure(rows)
        if plot_examples.choose_examples(rows, 1):
            figures["examples.png"] = plot_examples.examples_figure(rows)
    if len(run.steps) and run.has(names.ALL_SUCCESS):
        figures["summary.png"] = _summary_figure(run, rows)
    return figures


def _grid(run: RunData, draw: Sequence[Panel], below: float = 0.0) -> Figure:
    """A figure of panels; `below` are inches to keep free at the bottom."""
    figure, grid = panel_grid(len(draw), below)
    for axes, panel in zip(grid, draw, strict=True):
        panel(axes, run)
    return figure


def _summary_figure(run: RunData, rows: list[dict]) -> Figure:
    """Four panels and an example."""
    figure_panels = [panels.learning, panels.degeneration, plot_echo.step_entropy]
    if plot_curves.RESPONSE_LENGTH.values(run):
        figure_panels.append(plot_curves.panel(plot_curves.RESPONSE_LENGTH))
    chosen = plot_examples.choose_examples(rows, 1) if rows else []
    if not chosen:
        return _grid(run, figure_panels)
    ((row, image),) = chosen
    room = min(2.9, plot_examples.example_height(row, 0.956 * GRID_WIDTH, image))
    below = room + 0.15 + plot_examples.HEADER
    figure = _grid(run, figure_panels, below)
    scale = EntropyScale.from_rollouts(rows)
    plot_examples.examples_header(figure, rows, scale, below)
    height = figure.get_figheight()
    plot_examples.draw_example(figure, (0.022, 0.15 / height, 0.956, room / height), row, image, scale)
    return figure


def _latest_rollouts(folder: Path) -> list[dict]:
    """Rows of the newest readable file of training rollouts, or of validation rollouts if there is none."""
    for kind in ("rollouts", "validation"):
        for _, path in sorted(rollout_files(folder, kind).items(), reverse=True):
            try:
                return read_rollouts(path)
            except UserError:
                continue
    return []


@job
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = make_parser("plots", "echorl_vl.outputs.plots", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, e.g. checkpoints/echorl/geo3k_tiny")
    parser.add_argument("--out", help="plot the runs together and write the plots to this folder")
    options = parse_arguments(parser, arguments)
    if options.out:
        written = compare(options.runs, options.out)
        lines = difference_table(read_groups(options.runs))
    else:
        written = [path for run in options.runs for path in write_plots(run)]
        lines = []
    if not is_quiet():
        print("\n".join([*lines, *(visible(str(path)) for path in written)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
