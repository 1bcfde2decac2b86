"""The end of a run, the same for every engine: the summary, the plots, and the paths of what was written."""

from __future__ import annotations

from echorl_vl.outputs.display import Display
from echorl_vl.outputs.plots import write_plots
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.summary import summarize


def finish_run(folder: RunFolder, display: Display) -> None:
    """Draws the plots, marks the run as finished and shows the table. Plots that fail cost the run nothing.

    Killed in the middle, the same command does this again, and nothing else.
    """
    folder.mark_trained()
    rows, facts = summarize(folder.path)
    display.phase("plots")
    plots = []
    try:
        plots = write_plots(folder.path)
    except Exception as error:  # the run is whole without its plots
        again = f"python -m echorl_vl.outputs.plots {folder.path}"
        display.note(f"the plots failed ({type(error).__name__}: {error}); draw them with {again}")
    folder.finish(facts)
    display.summary(rows, [folder.metrics_file, *plots, *sorted(folder.path.glob("global_step_*"))])
