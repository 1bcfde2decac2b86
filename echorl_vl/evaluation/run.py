"""Evaluate a checkpoint: `echorl eval --model PATH --bench geometry3k,mathvision --out DIR`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from echorl_vl.answers.equality import Options as AnswerOptions
from echorl_vl.errors import INTERRUPTED, settings_called
from echorl_vl.evaluation.benchmarks import benchmarks
from echorl_vl.evaluation.benchmarks.base import Benchmark
from echorl_vl.evaluation.console import bar, show_table, wide_console
from echorl_vl.evaluation.folder import BenchmarkFolder
from echorl_vl.evaluation.options import Options, parse
from echorl_vl.evaluation.settings import versions
from echorl_vl.outputs.command import job

logger = logging.getLogger("echorl_vl.evaluation.run")  # __name__ is __main__ under python -m

# Configuration keys in messages of modules shared with training -> the option of this program.
_OPTIONS = {
    "trainer.save_checkpoint_path": "--out",
    "data.min_pixels": "--min-pixels",
    "data.max_pixels": "--max-pixels",
    "data.format_prompt": "--template",
    "data.image_dir": "--data",
    "model_path": "--model",
}


@job
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 2 invalid input, 130 stopped by the user)."""
    console = wide_console()
    try:
        with settings_called(_OPTIONS):
            options = parse(arguments)
            if options is None:
                _list(console)
            else:
                run(options, console)
        return 0
    except KeyboardInterrupt:
        logger.info("stopped; run the same command again to resume")
        return INTERRUPTED


def run(options: Options, console: Console) -> dict[str, dict[str, Any]]:
    """Sample missing responses, grade all of them and write the results; returns these by benchmark.

    Raises:
        UserError: the options, the files or the model are invalid.
    """
    if not options.grade_only:
        from echorl_vl.evaluation.generate import generate  # imports torch, which grading does not need

        generate(options, console)
    from echorl_vl.evaluation.grading.grade import Grader
    from echorl_vl.evaluation.report import show, write_overview

    answer_options = AnswerOptions(options.tolerance, units=options.units, rounded_integers=options.rounded_integers)
    with Grader(options.workers, options.time_limit, answer_options, options.grader) as grader:
        for benchmark in options.benchmarks:
            _grade(benchmark, options, grader, console)
    results = write_overview(options.out)
    show({name: results[name] for name in (b.name for b in options.benchmarks)}, console)
    logger.info("written: %s, results.json, and a folder for each benchmark", options.out / "results.md")
    return results


def _grade(benchmark: Benchmark, options: Options, grader: Any, console: Console) -> None:
    from echorl_vl.evaluation.report import result_of, write_result
    from echorl_vl.evaluation.settings import grader_sha256

    folder = BenchmarkFolder(options.out, benchmark.name)
    lock = folder.lock()
    try:
        written = folder.read_settings()
        questions = folder.read_questions(written["settings"]["questions_sha256"])
        responses = folder.read_responses(questions, written["settings"]["samples"])
        with bar(console, f"{benchmark.name}: grading", len(questions)) as update:
            grades = grader.grade(questions, responses, update)
        graded_with = {
            "grader": options.grader,
            "tolerance": options.tolerance,
            "units": options.units,
            "rounded_integers": options.rounded_integers,
            "time_limit": options.time_limit,
            "grader_sha256": grader_sha256(),
            **versions("mathruler", "math-verify", "latex2sympy2_extended", "sympy"),
        }
        write_result(folder, result_of(benchmark, grades, written, graded_with), grades)
    finally:
        lock.release()


def _list(console: Console) -> None:
    rows = (
        (
            benchmark.name,
            str(benchmark.size),
            str(benchmark.samples),
            "yes" if benchmark.images else "",
            benchmark.title,
            str(benchmark.hub),
        )
        for benchmark in benchmarks().values()
    )
    show_table(console, ("name", "N", "k", "images", "title", "hub"), rows, left=("images", "title", "hub"))
    console.print(
        "N: questions in the benchmark's official file; docs/evaluation.md lists other editions.", soft_wrap=True
    )
    console.print("k: responses to each question with --preset paper (avg@k).", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
