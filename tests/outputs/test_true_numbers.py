"""Titles, axes and the summary claim no more than the metrics show: few clips, shares near 0 and 1, tiny norms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up_run import write_metrics

from echorl_vl.outputs import plot_compare, plot_echo
from echorl_vl.outputs import plot_panels as panels
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_style import new_figure
from echorl_vl.outputs.summary import summarize

CLIPS = {"normalize_by": "clips"}


def run_with_clips_in(*steps: int, of: int = 12, echo: dict | None = None) -> RunData:
    return RunData.of(rows_with_clips_in(*steps, of=of), echo=echo)


def rows_with_clips_in(*steps: int, of: int = 12) -> list[dict]:
    """A step s with a clip has echo loss s, clip share s / 10 and clip entropy s."""
    rows = []
    for step in range(1, of + 1):
        row = {"step": step, "reward/accuracy": 0.5, "echo/clips": 0, "echo/verified": 9, "echo/coef": 0.001}
        row |= {"echo/loss": 0.0, "echo/step_entropy_mean": 1.0, "actor/grad_norm": 2e-9 * step}
        if step in steps:
            row |= {"echo/clips": 1, "echo/loss": float(step), "echo/clip_share": step / 10}
            row |= {"echo/clip_step_entropy": float(step)}
        rows.append(row)
    return rows


def axes_of(draw, run: RunData):
    """The axes of a panel, laid out."""
    figure = new_figure(6.4, 4.8)
    axes = figure.add_subplot()
    draw(axes, run)
    figure.canvas.draw()
    return axes


def said(draw, run: RunData) -> tuple[str, str]:
    """Title and subtitle, each on one line."""
    axes = axes_of(draw, run)
    return " ".join(axes.get_title(loc="left").split()), " ".join(axes.texts[0].get_text().split())


def test_the_last_step_with_a_clip_is_not_called_the_last_step():
    run = run_with_clips_in(1, 2, 3)
    title, subtitle = said(plot_echo.clip_share, run)
    assert title == "A clip is 30 % of its rollout" and subtitle.endswith("title: last step with a clip (step 3)")
    title, subtitle = said(plot_echo.step_entropy, run)
    assert title == "Clips end at 3.0x the mean step entropy"
    assert subtitle.endswith("title: last step with a clip (step 3)")


def test_several_steps_with_a_clip_are_named():
    run = run_with_clips_in(2, 4, 5, 7)
    assert said(plot_echo.clip_share, run)[1].endswith("title: last 2 steps with a clip (steps 5 to 7)")
    assert said(plot_echo.clip_share, run_with_clips_in(4))[1].endswith("title: only step with a clip (step 4)")


def test_steps_without_an_accuracy_are_not_counted_as_the_last():
    rows = rows_with_clips_in()
    for row in rows[4:]:
        row["reward/accuracy"] = None
    _, subtitle = said(panels.learning, RunData.of(rows))
    assert subtitle.endswith("title: all 4 steps with a value (steps 1 to 4)")
    rows[0]["reward/accuracy"] = 0.1
    title, subtitle = said(panels.learning, RunData.of(rows))
    assert title == "Training accuracy went from 30 % to 50 %"
    assert subtitle.endswith("title: first 2 steps / last 2 steps with a value (steps 1 to 4)")


def test_only_a_flat_curve_stayed():
    rows = [{"step": step, "group/all_success": 0.2} for step in (1, 2, 3)]
    assert said(panels.degeneration, RunData.of(rows))[0] == "All-success groups stayed at 20 %"
    rows = [{"step": step, "group/all_success": value} for step, value in enumerate([0.2, 0.9, 0.2], 1)]
    title, subtitle = said(panels.degeneration, RunData.of(rows))
    assert title == "All-success groups began and ended at 20 %"
    assert subtitle.endswith("title: first step / last step; lowest 20 %, highest 90 %")
    rows = [{"step": 5 * index, "val/accuracy": value} for index, value in enumerate([0.2, 0.9, 0.2])]
    assert said(panels.learning, RunData.of(rows))[0] == "Validation accuracy began and ended at 20 %"


def test_a_mean_over_clips_is_none_without_one(tmp_path):
    run = run_with_clips_in(1, 2, 3, 4, echo=CLIPS)
    title, subtitle = said(plot_echo.echo_loss, run)
    assert title == "Echo loss went from 1.5 to 3.5 nats"
    assert subtitle.endswith("title: first 2 steps / last 2 steps with a clip (steps 1 to 4)")
    assert all(len(line.get_xdata()) == 4 for line in axes_of(plot_echo.echo_loss, run).lines)
    write_metrics(tmp_path, rows_with_clips_in(1, 2, 3, 4))
    (tmp_path / "config.yaml").write_text("echo: {normalize_by: clips}\n")
    assert ("echo loss, nats", "1.5000", "3.5000", "first 2 / last 2 with a clip") in summarize(tmp_path)[0]


def test_a_mean_over_prompts_is_0_without_a_clip_and_says_so(tmp_path):
    run = run_with_clips_in(1, 2, 3, 4, echo={"normalize_by": "prompts"})
    title, subtitle = said(plot_echo.echo_loss, run)
    assert title == "Echo loss went from 2 to 0 nats"
    assert subtitle.endswith("title: first 5 steps / last 5 steps; 0 in 8 steps without a clip")
    write_metrics(tmp_path, rows_with_clips_in(1, 2, 3, 4))
    assert ("echo loss, 0 if no clip", "2.0000", "0.0000", "first 5 / last 5") in summarize(tmp_path)[0]


@pytest.mark.parametrize("low", [0.2, 0.23, 0.9, 0.985, 0.0])
@pytest.mark.parametrize("width", [0.01, 0.1, 0.3, 1.0])
def test_the_labels_of_an_axis_of_shares_are_its_ticks(low: float, width: float):
    rows = [{"step": step, "reward/accuracy": min(low + width * step / 5, 1.0)} for step in range(6)]
    axes = axes_of(panels.learning, RunData.of(rows))
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert [float(label.removesuffix(" %")) for label in labels] == pytest.approx(list(100 * axes.get_yticks()))
    assert max(map(len, labels)) <= len("99.9 %")


@pytest.mark.parametrize(
    ("first", "last", "title"),
    [
        (0.0, 0.0, "All-success groups stayed at 0 %"),
        (1.0, 1.0, "All-success groups stayed at 100 %"),
        (0.996, 1.0, "All-success groups went from 99.6 % to 100 %"),
        (0.0, 0.0004, "All-success groups went from 0 % to 0.04 %"),
        (0.99999, 0.00001, "All-success groups went from > 99.99 % to < 0.01 %"),
        (0.301, 0.304, "All-success groups stayed at 30 %"),
    ],
)
def test_only_nothing_is_0_percent_and_only_all_is_100(first: float, last: float, title: str, tmp_path):
    rows = [{"step": 1, "group/all_success": first}, {"step": 2, "group/all_success": last}]
    assert said(panels.degeneration, RunData.of(rows))[0] == title


def test_a_validation_that_is_hardly_ever_correct(tmp_path):
    rows = [{"step": step, "val/accuracy_reward": 0.004, "val/problems": 250} for step in (0, 5)]
    assert said(panels.learning, RunData.of(rows))[0] == "Validation accuracy stayed at 0.4 %"
    write_metrics(tmp_path, [{"step": 1, "group/all_success": 0.0004, "group/degenerate": 0.9996}])
    table = {row[0]: row[1] for row in summarize(tmp_path)[0]}
    assert table == {"all-success groups": "0.04%", "degenerate groups": "99.96%"}


def test_no_axis_offset_overlaps_the_subtitle():
    axes = axes_of(plot_echo.gradients, run_with_clips_in())
    assert axes.yaxis.get_offset_text().get_text() == ""
    assert [float(text.get_text()) for text in axes.get_yticklabels()] == pytest.approx(list(axes.get_yticks()))
    late = [{"step": 10_000_000 + step, "actor/grad_norm": 1.0} for step in range(4)]
    assert axes_of(plot_echo.gradients, RunData.of(late)).xaxis.get_offset_text().get_text() == ""


def test_points_and_error_bars_on_the_edge_of_the_axes_are_whole(tmp_path, monkeypatch):
    validations = {0: 0.0, 6: 0.5, 12: 1.0}
    for name, shift in (("a", 0), ("b", 3)):
        rows = [{"step": step + shift, "val/accuracy": value} for step, value in validations.items()]
        write_metrics(tmp_path / name, [row | {"val/accuracy_se": 0.1} for row in rows])
    figures = []
    monkeypatch.setattr(plot_compare, "save", lambda figure, path: figures.append(figure) or path)
    plot_compare.compare([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    (axes,) = figures[0].axes
    assert axes.get_xlim() == (0, 15)  # of both runs
    artists = [artist for container in axes.containers for artist in container.get_children()]
    assert len(artists) == 4 and not any(artist.get_clip_on() for artist in artists)
    bars = np.concatenate([segment[:, 1] for bar in axes.collections for segment in bar.get_segments()])
    assert bars.min() >= 0 and bars.max() <= 1


def test_a_whole_number_that_no_float_holds_is_no_value():
    assert math.isnan(RunData.of([{"step": 1, "reward/accuracy": 10**400}]).get("reward/accuracy")[0])
