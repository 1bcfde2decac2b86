"""Results: result.json of a benchmark, results.json and results.md of a folder, and a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from echorl_vl.evaluation.benchmarks.base import Benchmark, numbered
from echorl_vl.evaluation.console import show_table
from echorl_vl.evaluation.folder import BenchmarkFolder, Keys, read_json, without_nan, write_json, write_lines
from echorl_vl.evaluation.grading.grade import Grades
from echorl_vl.evaluation.metrics import average_at_k, breakdown, summary
from echorl_vl.outputs.atomic import write_text

_NUMBER = (int, float)
_RESULT: Keys = {
    "benchmark": str,
    "questions": int,
    "size": int,
    "partial": (str, type(None)),
    "metrics": dict,
    "metrics.accuracy": _NUMBER,
    "metrics.standard_error": (int, float, type(None)),
    "metrics.truncated": _NUMBER,
    "metrics.no_answer": _NUMBER,
    "metrics.response_tokens": _NUMBER,
    "own_metrics": dict,
    "graders": dict,
    "disagreements": int,
    "grading_failures": dict,
    "by_subject": dict,
    "by_level": dict,
    "grading": dict,
    "settings": dict,
    "settings.samples": int,
    "settings.model_sha256": str,
    "about": dict,
    "about.model": (str, type(None)),
    "about.preset": (str, type(None)),
}
HEADS = ("benchmark", "N", "n", "accuracy", "pass@n", "majority@n", "truncated", "no answer", "tokens")


def result_of(benchmark: Benchmark, grades: Grades, written: dict[str, Any], grading: dict[str, Any]) -> dict[str, Any]:
    """Everything that a benchmark's evaluation says, as JSON can hold it.

    `written` is the folder's settings.json, `grading` what the answers were graded with. `partial` is null for a whole
    benchmark, and says what was left out otherwise.
    """
    graded, settings = grades.graded, written["settings"]
    whole = len(graded) == settings["size"]
    disagreements = grades.disagreements()
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "questions": len(graded),
        "clusters": len(set(numbered([one.question.cluster for one in graded]))),
        "size": settings["size"],
        "partial": None if whole else f"{len(graded)} of {settings['size']} questions (--limit): no result",
        "metrics": summary(graded),
        "own_metrics": benchmark.own_metrics(graded) if benchmark.own_metrics else {},
        "graders": {name: average_at_k(verdicts) for name, verdicts in grades.verdicts.items()},
        "disagreements": len(disagreements),
        "grading_failures": grades.failures,
        "by_subject": breakdown(graded, lambda one: one.question.subject),
        "by_level": breakdown(graded, lambda one: one.question.level),
        "grading": grading,
        **written,
    }


def write_result(folder: BenchmarkFolder, result: dict[str, Any], grades: Grades) -> None:
    """Writes the grades, the disagreements and the result of one benchmark. Raises UserError where the disk refuses."""
    write_lines(
        folder.grades_file,
        (
            {
                "uid": one.question.uid,
                "truth": one.question.answer,
                "answers": one.answers,
                "correct": one.correct,
                "truncated": one.truncated,
                **{name: verdicts[index] for name, verdicts in grades.verdicts.items()},
            }
            for index, one in enumerate(grades.graded)
        ),
    )
    write_lines(folder.disagreements_file, grades.disagreements())
    write_json(folder.result_file, without_nan(result))


def write_overview(out: Path) -> dict[str, dict[str, Any]]:
    """Writes results.json and results.md over all benchmarks that `out` has a result of; gives the results by name.

    Raises UserError, naming file and key, where one is no result.
    """
    results = {path.parent.name: read_json(path, _RESULT) for path in sorted(Path(out).glob("*/result.json"))}
    write_json(Path(out) / "results.json", results)
    write_text(Path(out) / "results.md", _markdown(results))
    return results


def show(results: Mapping[str, dict[str, Any]], console: Console) -> None:
    """The table of results, and below it the metrics of the benchmarks' own and what is to be known beside them."""
    show_table(console, HEADS, map(row_of, results.values()))
    for line in _models(results):
        console.print(line, soft_wrap=True)
    for result in results.values():
        for note in _notes(result):
            console.print(f"{result['benchmark']}: {note}", soft_wrap=True)


def _models(results: Mapping[str, dict[str, Any]]) -> list[str]:
    """A line that says whose results they are; one for each benchmark where a folder holds those of several models."""
    models = {name: (result["settings"]["model_sha256"], result["about"]["model"]) for name, result in results.items()}
    if len({sha for sha, _ in models.values()}) <= 1:
        return [f"model: {model}" for _, model in list(models.values())[:1]]
    return ["NOT ONE MODEL:", *(f"{name}: of {model} ({sha[:12]})" for name, (sha, model) in models.items())]


def _notes(result: dict[str, Any]) -> list[str]:
    notes = []
    if result["own_metrics"]:
        notes.append("  ".join(f"{name} {_number(value)}" for name, value in result["own_metrics"].items()))
    if result["disagreements"]:
        notes.append(f"mathruler and math-verify disagree on {result['disagreements']} answer(s): disagreements.jsonl")
    if result["grading_failures"]:
        failed = ", ".join(f"{name} on {count}" for name, count in result["grading_failures"].items())
        notes.append(f"graders that took too long or failed: {failed} answer(s)")
    if result["partial"]:
        notes.append(f"PARTIAL, {result['partial']}")
    return notes


def row_of(result: dict[str, Any]) -> tuple[str, ...]:
    """The cells under `HEADS`."""
    metrics = result["metrics"]
    samples = result["settings"]["samples"]
    count = f"{result['questions']} of {result['size']}" if result["partial"] else str(result["questions"])
    return (
        result["benchmark"] + (" (PARTIAL)" if result["partial"] else ""),
        count,
        str(samples),
        with_error(metrics["accuracy"], metrics["standard_error"]),
        _percent(metrics.get(f"pass@{samples}")),
        _percent(metrics.get(f"majority@{samples}")),
        _percent(metrics["truncated"]),
        _percent(metrics["no_answer"]),
        f"{metrics['response_tokens']:.0f}",
    )


def with_error(value: float, error: float | None) -> str:
    """ "41.2 ± 2.3 %"; without the error where it is not known."""
    known = error is not None and math.isfinite(error)
    return f"{100 * value:.1f} ± {100 * error:.1f} %" if known else f"{100 * value:.1f} %"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    """A count (int) as it is, a share in per cent."""
    return str(value) if isinstance(value, int) else f"{100 * value:.1f} %"


def _markdown(results: Mapping[str, dict[str, Any]]) -> str:
    """Accuracy is avg@n, plus or minus its cluster-robust standard error."""
    lines = [f"| {' | '.join(HEADS)} |", f"| {' | '.join(['---'] * len(HEADS))} |"]
    lines += [f"| {' | '.join(row_of(result))} |" for result in results.values()]
    clustered = (
        "clustered by question, and by the problem or picture that questions share; Wilson's where all are equal"
    )
    lines += ["", f"Accuracy is avg@n ± its standard error, {clustered}.", ""]
    lines += [f"- {line}" for line in _models(results)] + [""]
    for name, result in results.items():
        lines += [f"## {name}", ""]
        if result["partial"]:
            lines += [f"**PARTIAL: {result['partial']}.**", ""]
        lines.append(f"- model: {result['about']['model']}, preset: {result['about']['preset']}")
        lines += [f"- {key}: {value}" for key, value in result["settings"].items() if key != "template"]
        if result.get("clusters", result["questions"]) != result["questions"]:
            lines.append(f"- clusters: {result['clusters']}, of questions that share a problem or a picture")
        lines += [f"- grading, {key}: {value}" for key, value in result["grading"].items()]
        lines += [f"- {key}: {_number(value)}" for key, value in result["own_metrics"].items()]
        lines += [f"- {grader}'s accuracy: {_percent(value)}" for grader, value in result["graders"].items()]
        lines += [f"- answers that mathruler and math-verify disagree on: {result['disagreements']}", ""]
        for title in ("subject", "level"):
            if result[f"by_{title}"]:
                lines += [f"| {title} | questions | accuracy |", "| --- | --- | --- |"]
                for group, values in result[f"by_{title}"].items():
                    accuracy = with_error(values["accuracy"], values["standard_error"])
                    lines.append(f"| {group} | {values['questions']} | {accuracy} |")
                lines.append("")
    return "\n".join(lines)
