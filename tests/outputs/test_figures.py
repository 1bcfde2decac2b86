"""Every number in a title, label, table or summary against its definition, on a run whose numbers are known by hand."""

from __future__ import annotations

import io
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_up_run import write_metrics, write_rollouts_of

from echorl_vl.outputs import plot_panels as panels
from echorl_vl.outputs import plots
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_rollouts import entropy_figure
from echorl_vl.outputs.plot_style import window_for
from echorl_vl.outputs.rollout_files import read_rollouts
from echorl_vl.outputs.summary import summarize

# Twelve steps: the first five and the last five are 1 to 5 and 8 to 12, whose means are 3 and 10.
STEPS = range(1, 13)


def by_hand(**changes) -> list[dict]:
    """A metric m of step s is s / 100, or as the comment says; 0 before and 12 after there are validations."""
    rows = [{"step": 0, "val/accuracy_reward": 0.3, "val/accuracy_se": 0.04, "val/problems": 131}]
    for step in STEPS:
        row = {
            "step": step,
            "reward/accuracy": 0.5 + step / 100,  # 0.53 -> 0.60
            "group/all_success": step / 50,  # 0.06 -> 0.20
            "group/all_fail": 0.1 - step / 200,
            "group/degenerate": step / 25,
            "adv/zero_share": 0.4 + step / 100,  # 0.43 -> 0.50
            "echo/loss": step / 10,  # 0.3 -> 1
            "echo/coef": 0.001,
            "echo/clips": step,
            "echo/verified": 20,
            "echo/clip_tokens": 7,
            "echo/clip_share": step / 20,  # 0.5 at the end
            "echo/clip_step_entropy": step / 10,  # 1 at the end
            "echo/step_entropy_mean": 0.4,  # so the clips' is 2.5 times as high
            "echo/step_entropy_max": 90.0,
            "actor/grad_norm": step / 4,
            "actor/policy_grad_norm": step / 2,  # 1.5 -> 5
            "echo/grad_norm": 0.25,
            "timing_s/gen": 3.0,
            "timing_s/update_actor": 1.0,
            "timing_s/step": float(step),
        }
        rows.append(row | changes)
    rows[-1] |= {"val/accuracy_reward": 0.75, "val/accuracy_se": 0.05, "val/problems": 131}
    return rows


def no_clips() -> list[dict]:
    rows = by_hand(**{"echo/clips": 0, "echo/loss": 0.0, "echo/left_out_truncated": 20})
    return [{name: value for name, value in row.items() if not name.startswith("echo/clip_")} for row in rows]


class Panel:
    """What a panel says and draws."""

    def __init__(self, draw, run: RunData) -> None:
        figure, axes = plt.subplots()
        draw(axes, run)
        self.title = axes.get_title(loc="left").strip()
        texts = [text.get_text() for text in axes.texts]
        self.subtitle, self.labels = texts[0], texts[1:]
        self.ylabel = axes.get_ylabel()
        self.lines = [np.asarray(line.get_ydata(), float) for line in axes.lines]
        self.areas = len(axes.collections)
        plt.close(figure)

    def has_line(self, values) -> bool:
        return any(len(line) == len(values) and np.allclose(line, values) for line in self.lines)


def panel(draw, rows: list[dict], echo: dict | None = None) -> Panel:
    return Panel(draw, RunData.of(rows, echo=echo))


FIRST_AND_LAST = "title: first and last 5 steps"
STATED = {
    panels.learning: ("Validation accuracy rose from 30 % to 75 %", "", "accuracy"),
    panels.degeneration: ("All-success groups went from 6 % to 20 %", FIRST_AND_LAST, "share of groups"),
    panels.zero_advantage: ("Tokens with zero advantage went from 43 % to 50 %", FIRST_AND_LAST, "of response tokens"),
    panels.echo_loss: ("Echo loss went from 0.3 to 1", FIRST_AND_LAST, "mean over prompts"),
    panels.step_entropy: ("Clips end at 2.5x the mean step entropy", "title: last 5 steps", "nats"),
    panels.clip_share: ("A clip is 50 % of its rollout", "title: last 5 steps", "clip share"),
    panels.gradients: ("Gradient norm without the echo term went from 1.5 to 5", FIRST_AND_LAST, "gradient norm"),
    panels.timing: ("Rollouts: 75 % of the time", "shares: of 48.0 s", "seconds"),
}


@pytest.mark.parametrize("draw", STATED, ids=lambda draw: draw.__name__)
def test_titles_say_what_the_numbers_are(draw):
    title, subtitle, ylabel = STATED[draw]
    shown = panel(draw, by_hand())
    assert shown.title == title
    assert subtitle in shown.subtitle
    assert ylabel in shown.ylabel


def test_the_clips_own_step_entropy_is_drawn():
    """Not the highest of all rollouts, which is 90 here."""
    shown = panel(panels.step_entropy, by_hand())
    assert shown.has_line([step / 10 for step in STEPS])
    assert max(line.max() for line in shown.lines) < 2
    assert set(shown.labels) == {"the clips'\nlast steps", "all steps"}


def test_the_ratio_is_over_steps_that_have_clips():
    rows = by_hand()
    for row in rows[6:]:  # steps 6 to 12 are without a clip, and much less certain
        row |= {"echo/clips": 0, "echo/step_entropy_mean": 7.0}
        del row["echo/clip_step_entropy"]
    assert panel(panels.step_entropy, rows).title == "Clips end at 1.1x the mean step entropy"  # 4 and 5, of 0.4


@pytest.mark.parametrize("draw", [panels.echo_loss, panels.step_entropy, panels.clip_share])
def test_without_a_clip_nothing_is_said_or_drawn_of_any(draw):
    shown = panel(draw, no_clips())
    assert shown.title == "No EchoClip in this run"
    assert shown.subtitle == "240 verified rollouts, all truncated"
    assert not any("clip" in label for label in shown.labels)
    assert [line for line in shown.lines if not np.allclose(line, 0.4)] == []  # but the entropy of all steps


def test_zeros_that_stand_for_no_clip_are_no_numbers():
    """Runs before the metrics were left out have 0 where there was no clip."""
    rows = by_hand()
    rows[12] |= {"echo/clips": 0, "echo/clip_share": 0.0, "echo/clip_tokens": 0.0}
    shown = panel(panels.clip_share, rows)
    assert shown.title == f"A clip is {100 * sum(step / 20 for step in range(7, 12)) / 5:.0f} % of its rollout"
    assert all(line.min() > 0 for line in shown.lines)


def test_a_run_that_never_logged_the_clips_own_has_no_ratio():
    rows = [{name: value for name, value in row.items() if name != "echo/clip_step_entropy"} for row in by_hand()]
    shown = panel(panels.step_entropy, rows)
    assert shown.title == "Entropy of reasoning steps" and shown.labels == ["all steps"]


def test_tokens_are_not_on_an_axis_of_groups():
    groups, tokens = panel(panels.degeneration, by_hand()), panel(panels.zero_advantage, by_hand())
    assert groups.ylabel == "share of groups" and not any("token" in label for label in groups.labels)
    assert not groups.has_line([0.4 + step / 100 for step in STEPS])
    assert tokens.has_line([0.4 + step / 100 for step in STEPS])


def test_the_weight_of_the_echo_term_and_what_its_loss_is_divided_by():
    rows = by_hand()
    rows[1]["echo/coef"] = 0.0
    shown = panel(panels.echo_loss, rows, echo={"normalize_by": "clips"})
    assert "times 0 to 0.001" in shown.subtitle and "mean over clips" in shown.ylabel
    assert "times 0.001" in panel(panels.echo_loss, by_hand()).subtitle


def test_fewer_steps_are_called_what_they_are():
    rows = by_hand()[:5]  # validation, and steps 1 to 4
    shown = panel(panels.degeneration, rows)
    assert shown.title == "All-success groups went from 3 % to 7 %" and "first and last 2 steps" in shown.subtitle
    one = panel(panels.degeneration, rows[:2])
    assert one.title == "All-success groups: 2 %" and "title" not in one.subtitle


def test_an_accuracy_that_stays():
    rows = by_hand()
    rows[-1]["val/accuracy_reward"] = 0.303
    assert panel(panels.learning, rows).title == "Validation accuracy stayed at 30 %"


def test_hints_are_said(tmp_path):
    rows = by_hand(**{"hint/tokens": 3.0})
    assert "training,\nhints included" in panel(panels.learning, rows).labels
    write_metrics(tmp_path, rows)
    assert summarize(tmp_path)[0][1][0] == "training accuracy, hints included"


def test_the_table_and_the_plots_have_one_definition(tmp_path):
    write_metrics(tmp_path, by_hand())
    rows, facts = summarize(tmp_path)
    five = "first 5, last 5"
    assert rows == [
        ("validation accuracy", "30.0% ± 4.0%", "75.0% ± 5.0%", "0 and 12"),
        ("training accuracy", "53.0%", "60.0%", five),
        ("groups that all succeed", "6.0%", "20.0%", five),
        ("groups that all fail", "8.5%", "5.0%", five),
        ("degenerate groups", "12.0%", "40.0%", five),
        ("echo loss", "0.3000", "1.0000", five),
        ("echo clips a step", "3.0", "10.0", five),
        ("seconds a step", "3.00", "10.00", five),
    ]
    assert facts["val/accuracy_before"] == 0.3 and facts["val/accuracy_se_after"] == 0.05 and facts["steps"] == 12
    assert facts["group/all_success_first"] == pytest.approx(0.06)
    assert facts["group/all_success_last"] == pytest.approx(0.2)


def test_the_table_fits_eighty_columns(tmp_path):
    write_metrics(tmp_path, by_hand())
    out = io.StringIO()
    with Display(12, plain=True, console=make_console(file=out, width=80)) as display:
        display.summary(summarize(tmp_path)[0], [])
    (line,) = (line for line in out.getvalue().splitlines() if "groups that all succeed" in line)
    assert line.split() == ["groups", "that", "all", "succeed", "6.0%", "20.0%", "first", "5,", "last", "5"]


def test_the_table_says_why_there_is_no_clip(tmp_path):
    write_metrics(tmp_path, no_clips())
    rows, facts = summarize(tmp_path)
    assert rows[-1] == ("no echo clip", "", "", "240 verified rollouts, all truncated")
    assert facts["echo/no_clip"] == "240 verified rollouts, all truncated"
    assert not any(row[0] == "echo loss" for row in rows)
    some = by_hand()
    some[3]["echo/clips"] = 0
    write_metrics(tmp_path, some)
    assert summarize(tmp_path)[0][-1][3] == "in 1 of 12 steps with the term"


@pytest.mark.parametrize(
    ("echo", "reason"),
    [
        ("{coef: 0.001, start_step: 50}", "term not started, echo.start_step is 50"),
        ("{coef: 0.0}", None),
    ],
)
def test_the_table_of_a_run_without_the_term(tmp_path, echo, reason):
    rows = [{"step": step, "reward/accuracy": 0.5, "echo/coef": 0.0} for step in STEPS]
    write_metrics(tmp_path, rows)
    (tmp_path / "config.yaml").write_text(f"echo: {echo}\n")
    last = summarize(tmp_path)[0][-1]
    assert last == (("no echo clip", "", "", reason) if reason else ("training accuracy", "50.0%", "50.0%", last[3]))


def test_a_validation_before_training_alone_is_not_one_after_it(tmp_path):
    rows = by_hand()
    for name in ("val/accuracy_reward", "val/accuracy_se", "val/problems"):
        del rows[-1][name]
    write_metrics(tmp_path, rows)
    (first, *_), facts = summarize(tmp_path)
    assert first == ("validation accuracy", "30.0% ± 4.0%", "-", "0")
    assert "val/accuracy_after" not in facts
    write_metrics(tmp_path, [rows[0] | {"step": 150}])  # validation alone, of a checkpoint
    (first, *_), facts = summarize(tmp_path)
    assert first == ("validation accuracy", "-", "30.0% ± 4.0%", "150")


def test_the_error_of_a_validation_that_is_all_right():
    rows = [{"step": 0, "val/accuracy_reward": 1.0, "val/accuracy_se": 0.0, "val/problems": 9}]
    rows += [{"step": 1, "val/accuracy_reward": 0.0, "val/problems": 9}]
    assert RunData.of(rows).heldout()[2].tolist() == pytest.approx([0.1, 0.1])


def overlay_texts(monkeypatch, tmp_path: Path, runs: dict[str, list[dict]]) -> list[tuple[list[str], int]]:
    """(texts, lines drawn) of learning.png and degeneration.png of several runs."""
    for name, rows in runs.items():
        write_metrics(tmp_path / name, rows)
    found = []

    def look(figure, path):
        (axes,) = figure.axes
        texts = [axes.get_title(loc="left").strip(), *(text.get_text() for text in axes.texts)]
        found.append((texts, sum(len(line.get_xdata()) > 1 for line in axes.lines)))
        plt.close(figure)
        return path

    monkeypatch.setattr(plots, "save", look)
    plots.compare([tmp_path / name for name in runs], tmp_path / "out")
    return found


def test_training_accuracy_is_not_drawn_as_validation(monkeypatch, tmp_path):
    never = [{name: value for name, value in row.items() if not name.startswith("val/")} for row in by_hand()]
    (texts, lines), (degenerate, _) = overlay_texts(monkeypatch, tmp_path, {"a": by_hand(), "b": never[1:]})
    assert texts[0] == "Validation accuracy of the runs"
    assert "without a validation: b" in texts[1] and texts[2:] == ["a"] and lines == 1
    assert degenerate[0] == "Groups without a policy gradient" and "rewards are all equal" in degenerate[1]
    (texts, lines), _ = overlay_texts(monkeypatch, tmp_path / "none", {"a": never[1:], "b": never[1:]})
    assert texts[0] == "Training accuracy of the runs" and lines == 4  # raw and smoothed of each
    assert set(texts[2:]) == {"a", "b"}


def test_rollouts_that_were_not_graded_or_not_the_policy_s_are_not_counted(tmp_path):
    rows = read_rollouts(write_rollouts_of(tmp_path, 3, prompts=1, n=5))
    for row, verified in zip(rows, (True, True, False, False, None), strict=True):
        row["verified"] = verified
    rows[1]["expert"] = True
    figure = entropy_figure(rows)
    axes = figure.axes[0]
    assert any("1 of 3 correct" in text.get_text() for text in axes.texts)
    assert [label.get_text() for label in axes.get_yticklabels()].count("") == 1
    plt.close(figure)


def test_smoothed_lines_are_moving_means():
    shown = panel(panels.zero_advantage, by_hand())
    half = (window_for(len(STEPS) + 1) | 1) // 2
    values = [math.nan, *(0.4 + step / 100 for step in STEPS)]
    means = [np.nanmean(values[max(step - half, 0) : step + half + 1]) for step in STEPS]
    assert shown.has_line(means)
