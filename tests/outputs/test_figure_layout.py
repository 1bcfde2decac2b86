"""No text of a figure is too small, overlaps another or leaves the figure, whatever the run has not logged."""

from __future__ import annotations

from pathlib import Path

import pytest
from figure_texts import check_size, check_texts
from made_up_run import metric_rows, write_metrics, write_rollouts_of
from matplotlib.figure import Figure

from echorl_vl.outputs import plots


def without(rows: list[dict], *prefixes: str) -> list[dict]:
    return [{name: value for name, value in row.items() if not name.startswith(prefixes)} for row in rows]


def few_clips() -> list[dict]:
    """Clips in 3 steps of 30, and gradients so small that they need an exponent."""
    rows = metric_rows(30)[1:]
    for row in rows:
        row |= {"actor/policy_grad_norm": row["actor/grad_norm"] * 1e-9, "echo/grad_norm": 1e-10}
        row |= {"echo/clip_step_entropy": 1.0, "echo/coef": 0.00001 * row["step"]}
        if row["step"] > 3:
            row |= {"echo/clips": 0, "echo/loss": 0.0, "echo/verified": 9}
    return without(rows, "val/")


RUNS = {
    "whole": metric_rows(30),
    "without a validation": without(metric_rows(30)[1:], "val/"),
    "without the echo term": without(metric_rows(30), "echo/"),
    "without any entropy": without(metric_rows(30), "echo/", "actor/entropy", "val/"),
    "few clips": few_clips(),
}


def figures_of(folder: Path, rows: list[dict], monkeypatch) -> dict[str, Figure]:
    """The figures of `write_plots`, by file name."""
    write_metrics(folder, rows)
    if "echo/loss" in rows[-1]:
        write_rollouts_of(folder, 30, prompts=2, n=2)
    else:
        (folder / "config.yaml").write_text("echo: {coef: 0.0}\n")
    figures = {}
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.setdefault(path.name, figure) and path)
    plots.write_plots(folder)
    return figures


@pytest.mark.slow
@pytest.mark.parametrize("rows", RUNS.values(), ids=RUNS.keys())
def test_texts_can_be_read(tmp_path, monkeypatch, rows):
    for name, figure in figures_of(tmp_path, rows, monkeypatch).items():
        check_size(figure, name)
        if name not in ("examples.png", "entropy.png"):  # texts within bars
            check_texts(figure, name)


def test_a_run_without_the_echo_term_says_so(tmp_path, monkeypatch):
    figure = figures_of(tmp_path / "a", RUNS["without the echo term"], monkeypatch)["summary.png"]
    axes = figure.axes[2]
    assert axes.get_title(loc="left").startswith("Policy entropy went from")
    assert "no echo term (echo.coef = 0)" in axes.texts[0].get_text() and len(axes.lines) == 2
    figure = figures_of(tmp_path / "b", RUNS["without any entropy"], monkeypatch)["summary.png"]
    axes = figure.axes[2]
    assert axes.get_title(loc="left") == "No echo term (echo.coef = 0)" and not axes.axison
