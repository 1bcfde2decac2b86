"""Replicate the paper's analyses.

    python -m eval.evidence --out runs/evidence                                   all experiments, images and text
    python -m eval.evidence helps --task text --seeds 1 2 3 --out runs/evidence   one experiment
    python -m eval.evidence traces --config my.yaml --out DIR worker.rollout.n=16 your configuration, any key
    python -m eval.evidence report --out runs/evidence --into docs/evidence.md    tables for the documentation
    python -m eval.evidence --plan --out runs/evidence                            list the missing runs and their time

Finished runs are never repeated: to resume after a stop, run the same command again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from transformers.utils import logging as transformers_logging

import echorl_vl.generators  # noqa: F401 - registers the sources of generated problems
from echorl_vl.errors import INTERRUPTED, UserError
from echorl_vl.evidence.experiment import Experiment, experiment_names, find_experiments
from echorl_vl.evidence.report import fill, report
from echorl_vl.evidence.results import write_result
from echorl_vl.evidence.setup import TASKS, Setup, make_setup
from echorl_vl.evidence.store import Store, estimate
from echorl_vl.outputs.command import add_log_flags, job, parse_arguments, program
from echorl_vl.outputs.console import make_console, quiet_libraries
from echorl_vl.outputs.log import is_quiet
from echorl_vl.outputs.terminal import visible

logger = logging.getLogger("echorl_vl.evidence")  # __name__ is __main__ under python -m

REPORT = "report"


@job
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 2 invalid input, 130 stopped by the user)."""
    options = parse_arguments(_parser(), arguments)
    names = [word for word in options.words if "=" not in word]
    overrides = [word for word in options.words if "=" in word]
    try:
        if REPORT in names:
            return _report(options, names)
        experiments = find_experiments(names)
        setups = _setups(options, overrides)
        return _run(experiments, setups, Store(options.out), options.plan)
    except KeyboardInterrupt:
        logger.info("stopped; run the same command again to resume (%s)", options.out)
        return INTERRUPTED


def _run(experiments: dict[str, Experiment], setups: list[Setup], store: Store, plan_only: bool) -> int:
    quiet_libraries(progress=not is_quiet())
    transformers_logging.disable_progress_bar()  # one bar per loaded model
    console = make_console()
    runs = [run for setup in setups for experiment in experiments.values() for run in experiment.runs(setup)]
    runs = list({(type(run), run.key): run for run in runs}.values())  # shared runs count once
    if plan_only or not is_quiet():
        _show_plan(console, store, runs)
    if plan_only:
        return 0
    for setup in setups:
        for name, experiment in experiments.items():
            if not is_quiet():
                console.rule(f"{name}, {setup.task}")
            store.run(experiment.runs(setup), logger.info)
            result = write_result(name, experiment, setup, store)
            console.print(result["sentence"], soft_wrap=True)
    tables = f"{program('evidence', 'eval.evidence')} {REPORT} --out {store.out}"
    logger.info("%s: numbers and plots; tables: %s", store.out / "results", tables)
    return 0


def _show_plan(console: Console, store: Store, runs: list) -> None:
    plan = estimate(store, runs)
    if not plan:
        console.print(f"all {len(runs)} runs are finished")
        return
    table = Table("runs", "number", "minutes, about")
    for label, (count, seconds) in plan.items():
        table.add_row(label, str(count), "not known yet" if seconds is None else f"{seconds / 60:.0f}")
    known = [seconds for _, seconds in plan.values() if seconds is not None]
    least = "" if len(known) == len(plan) else "at least "
    count = str(sum(count for count, _ in plan.values()))
    table.add_row("total", count, f"{least}{sum(known) / 60:.0f}", style="bold")
    console.print(table)


def _report(options: argparse.Namespace, names: list[str]) -> int:
    if len(names) > 1:
        raise UserError(f"report: expected no experiment, got {', '.join(set(names) - {REPORT})}")
    if options.into is None:
        print(visible(report(options.out)), end="")
    else:
        print(visible(f"{options.into}: {', '.join(fill(options.into, options.out)) or 'nothing to fill in'}"))
    return 0


def _setups(options: argparse.Namespace, overrides: list[str]) -> list[Setup]:
    if options.task and options.config:
        raise UserError("expected --task or --config, got both: a task has its own configuration")
    if len(set(options.seeds)) != len(options.seeds):
        raise UserError(f"--seeds {' '.join(map(str, options.seeds))}: expected each seed once")
    if min(options.samples, 1 if options.problems is None else options.problems) < 1:
        raise UserError("--samples and --problems: expected whole numbers of at least 1")
    tasks = [options.task] if options.task or options.config else list(TASKS)
    sizes = {"seeds": tuple(options.seeds), "samples": options.samples, "problems": options.problems}
    return [make_setup(task, options.config, overrides, options.test, **sizes) for task in tasks]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("evidence", "eval.evidence"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_log_flags(parser)
    names = ", ".join(experiment_names())
    parser.add_argument(
        "words", nargs="*", metavar="NAME or key=value", help=f"{names}, or {REPORT}; default: all experiments"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results; existing runs are kept")
    parser.add_argument("--task", choices=sorted(TASKS), help="one of the tiny tasks (default: both)")
    parser.add_argument("--config", help="configuration to use instead of a task")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[1, 2, 3, 4, 5],
        metavar="N",
        help="seeds of the training runs (1 2 3 4 5)",
    )
    parser.add_argument("--test", nargs="+", default=[], metavar="NAME=SET", help="problem sets to test on")
    parser.add_argument("--samples", type=int, default=4, help="responses to each test problem (%(default)s)")
    parser.add_argument("--problems", type=int, help="maximum number of problems per measurement")
    parser.add_argument("--plan", action="store_true", help="list the missing runs and exit")
    parser.add_argument("--into", type=Path, help=f"with {REPORT}: the document to fill in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
