"""Results: result.json of a benchmark, results.json and results.md of a folder, and the table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from echorl_vl.evaluation.benchmarks.base import Benchmark, cluster_numbers
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
    """Return the content of result.json.

    Args:
        benchmark: the benchmark.
        grades: the graded responses.
        written: content of the folder's settings.json.
        grading: settings and versions of the graders.
    """
    graded, settings = grades.graded, written["settings"]
    whole = len(graded) == settings["size"]
    disagreements = grades.disagreements()
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "questions": len(graded),
        "clusters": len(set(cluster_numbers([one.question.cluster for one in graded]))),
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
    """Write the grades, the disagreements and the result of a benchmark. Raises UserError if the disk fails."""
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
    """Write results.json and results.md with all results below `out`; returns the results by benchmark.

    Raises:
        UserError: a result.json is invalid; names file and key.
    """
    results = {path.parent.name: read_json(path, _RESULT) for path in sorted(Path(out).glob("*/result.json"))}
    write_json(Path(out) / "results.json", results)
    write_text(Path(out) / "results.md", _markdown(results))
    return results


def show(results: Mapping[str, dict[str, Any]], console: Console) -> None:
    """Print the table of results, the model, and notes on each benchmark."""
    show_table(console, HEADS, map(row_of, results.values()))
    for line in _models(results):
        console.print(line, soft_wrap=True)
    for result in results.values():
        for note in _notes(result):
            console.print(f"{result['benchmark']}: {note}", soft_wrap=True)


def _models(results: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return a line that names the model, or one line per benchmark if the results are from several models."""
    models = {name: (result["settings"]["model_sha256"], result["about"]["model"]) for name, result in results.items()}
    if len({sha for sha, _ in models.values()}) <= 1:
        return [f"model: {model}" for _, model in list(models.values())[:1]]
    return ["SEVERAL MODELS:", *(f"{name}: {model} ({sha[:12]})" for name, (sha, model) in models.items())]


def _notes(result: dict[str, Any]) -> list[str]:
    notes = []
    if result["own_metrics"]:
        notes.append("  ".join(f"{name} {_number(value)}" for name, value in result["own_metrics"].items()))
    if result["disagreements"]:
        notes.append(f"the graders disagree on {result['disagreements']} answer(s): disagreements.jsonl")
    if result["grading_failures"]:
        failed = ", ".join(f"{name} on {count}" for name, count in result["grading_failures"].items())
        notes.append(f"graders that timed out or failed: {failed} answer(s)")
    if result["partial"]:
        notes.append(f"PARTIAL, {result['partial']}")
    return notes


def row_of(result: dict[str, Any]) -> tuple[str, ...]:
    """Return a row of the table under `HEADS`."""
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
    """Format an accuracy and its standard error: "41.2 ± 2.3 %", or "41.2 %" if the error is not known."""
    known = error is not None and math.isfinite(error)
    return f"{100 * value:.1f} ± {100 * error:.1f} %" if known else f"{100 * value:.1f} %"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    """Format a count (int) unchanged and a share as a percentage."""
    return str(value) if isinstance(value, int) else f"{100 * value:.1f} %"


def _markdown(results: Mapping[str, dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(HEADS)} |", f"| {' | '.join(['---'] * len(HEADS))} |"]
    lines += [f"| {' | '.join(row_of(result))} |" for result in results.values()]
    clustered = (
        "clustered by question, or by the problem or image that questions share; Wilson's error if all are equal"
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
            lines.append(f"- clusters: {result['clusters']}, of questions that share a problem or an image")
        lines += [f"- grading, {key}: {value}" for key, value in result["grading"].items()]
        lines += [f"- {key}: {_number(value)}" for key, value in result["own_metrics"].items()]
        lines += [f"- accuracy by {grader}: {_percent(value)}" for grader, value in result["graders"].items()]
        lines += [f"- answers on which the graders disagree: {result['disagreements']}", ""]
        for title in ("subject", "level"):
            if result[f"by_{title}"]:
                lines += [f"| {title} | questions | accuracy |", "| --- | --- | --- |"]
                for group, values in result[f"by_{title}"].items():
                    accuracy = with_error(values["accuracy"], values["standard_error"])
                    lines.append(f"| {group} | {values['questions']} | {accuracy} |")
                lines.append("")
    return "\n".join(lines)
