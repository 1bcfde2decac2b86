"""Checks every number in titles, labels and tables against its definition, on a run with numbers known by hand."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from made_up_run import write_metrics, write_rollouts_of

from echorl_vl.outputs import plot_compare, plot_echo
from echorl_vl.outputs import plot_panels as panels
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_rollouts import entropy_figure
from echorl_vl.outputs.plot_style import new_figure, window_for
from echorl_vl.outputs.rollout_files import read_rollouts
from echorl_vl.outputs.summary import summarize

# Twelve steps: the first five and the last five are 1 to 5 and 8 to 12, whose means are 3 and 10.
STEPS = range(1, 13)


def by_hand(**changes) -> list[dict]:
    """Twelve steps with metrics that are simple functions of the step, and validations at steps 0 and 12."""
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
            "echo/step_entropy_mean": 0.4,  # the entropy of the clips is 2.5 times as high
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


def one_line(text: str) -> str:
    return " ".join(text.split())


class Panel:
    """The texts and the curves of a panel."""

    def __init__(self, draw, run: RunData) -> None:
        axes = new_figure(6.4, 4.8).add_subplot()
        draw(axes, run)
        self.title = one_line(axes.get_title(loc="left"))
        texts = [text.get_text() for text in axes.texts]
        self.subtitle, self.labels = one_line(texts[0]), texts[1:]
        self.ylabel = axes.get_ylabel()
        self.lines = [np.asarray(line.get_ydata(), float) for line in axes.lines]
        self.areas = len(axes.collections)

    def has_line(self, values) -> bool:
        return any(len(line) == len(values) and np.allclose(line, values) for line in self.lines)


def panel(draw, rows: list[dict], echo: dict | None = None) -> Panel:
    return Panel(draw, RunData.of(rows, echo=echo))


FIRST_AND_LAST = "title: first 5 steps / last 5 steps"
STATED = {
    panels.learning: ("Validation accuracy rose from 30 % to 75 %", "", "accuracy"),
    panels.degeneration: ("All-success groups went from 6 % to 20 %", FIRST_AND_LAST, "share of groups"),
    panels.zero_advantage: ("Tokens with zero advantage went from 43 % to 50 %", FIRST_AND_LAST, "of response tokens"),
    plot_echo.echo_loss: ("Echo loss went from 0.3 to 1 nats", FIRST_AND_LAST, "nats per token, mean over prompts"),
    plot_echo.step_entropy: ("Clips end at 2.5x the mean step entropy", "title: last 5 steps", "nats"),
    plot_echo.clip_share: ("A clip is 50 % of its rollout", "title: last 5 steps", "share of the rollout's tokens"),
    plot_echo.gradients: ("Gradient norm without the echo term went from 1.5 to 5", FIRST_AND_LAST, "gradient norm"),
    panels.timing: ("Rollouts: 75 % of the time", "shares are of 48.0 s in all", "seconds"),
}


@pytest.mark.parametrize("draw", STATED, ids=lambda draw: draw.__name__)
def test_titles_say_what_the_numbers_are(draw):
    title, subtitle, ylabel = STATED[draw]
    shown = panel(draw, by_hand())
    assert shown.title == title
    assert subtitle in shown.subtitle
    assert ylabel in shown.ylabel


def test_the_entropy_of_the_clips_last_steps_is_shown():
    """Not the highest of all rollouts, which is 90 here."""
    shown = panel(plot_echo.step_entropy, by_hand())
    assert shown.has_line([step / 10 for step in STEPS])
    assert max(line.max() for line in shown.lines) < 2
    assert set(shown.labels) == {"last steps\nof clips", "all steps"}


def test_the_ratio_is_over_steps_that_have_clips():
    rows = by_hand()
    for row in rows[6:]:  # steps 6 to 12 have no clip and a high entropy
        row |= {"echo/clips": 0, "echo/step_entropy_mean": 7.0}
        del row["echo/clip_step_entropy"]
    assert panel(plot_echo.step_entropy, rows).title == "Clips end at 1.1x the mean step entropy"  # steps 4, 5


@pytest.mark.parametrize("draw", [plot_echo.echo_loss, plot_echo.step_entropy, plot_echo.clip_share])
def test_a_run_without_clips_shows_no_numbers_of_clips(draw):
    shown = panel(draw, no_clips())
    assert shown.title == "No EchoClip in this run"
    assert shown.subtitle == "240 verified rollouts, all truncated"
    assert not any("clip" in label for label in shown.labels)
    assert [line for line in shown.lines if not np.allclose(line, 0.4)] == []  # except the entropy of all steps


def test_zeros_of_steps_without_a_clip_are_ignored():
    """Older versions logged 0 for a step without a clip."""
    rows = by_hand()
    rows[12] |= {"echo/clips": 0, "echo/clip_share": 0.0, "echo/clip_tokens": 0.0}
    shown = panel(plot_echo.clip_share, rows)
    assert shown.title == f"A clip is {100 * sum(step / 20 for step in range(7, 12)) / 5:.0f} % of its rollout"
    assert all(line.min() > 0 for line in shown.lines)


def test_a_run_that_did_not_log_the_clips_entropy_has_no_ratio():
    rows = [{name: value for name, value in row.items() if name != "echo/clip_step_entropy"} for row in by_hand()]
    shown = panel(plot_echo.step_entropy, rows)
    assert shown.title == "Entropy of reasoning steps" and shown.labels == ["all steps"]


def test_tokens_and_groups_have_separate_axes():
    groups, tokens = panel(panels.degeneration, by_hand()), panel(panels.zero_advantage, by_hand())
    assert groups.ylabel == "share of groups" and not any("token" in label for label in groups.labels)
    assert not groups.has_line([0.4 + step / 100 for step in STEPS])
    assert tokens.has_line([0.4 + step / 100 for step in STEPS])


def test_the_echo_panel_names_the_coefficient_and_the_normalization():
    rows = by_hand()
    rows[1]["echo/coef"] = 0.0
    shown = panel(plot_echo.echo_loss, rows, echo={"normalize_by": "clips"})
    assert "; echo.coef = 0 to 0.001" in shown.subtitle and "mean over clips" in shown.ylabel
    assert "; echo.coef = 0.001" in panel(plot_echo.echo_loss, by_hand()).subtitle


def test_titles_name_how_many_steps_they_average():
    rows = by_hand()[:5]  # validation, and steps 1 to 4
    shown = panel(panels.degeneration, rows)
    assert shown.title == "All-success groups went from 3 % to 7 %" and "first 2 steps / last 2 steps" in shown.subtitle
    one = panel(panels.degeneration, rows[:2])
    assert one.title == "All-success groups: 2 %" and "title" not in one.subtitle


def test_an_accuracy_that_stays():
    rows = by_hand()
    rows[-1]["val/accuracy_reward"] = 0.303
    assert panel(panels.learning, rows).title == "Validation accuracy stayed at 30 %"


def test_hints_are_mentioned(tmp_path):
    rows = by_hand(**{"hint/tokens": 3.0})
    assert "training,\nhints included" in panel(panels.learning, rows).labels
    write_metrics(tmp_path, rows)
    assert summarize(tmp_path)[0][1][0] == "training accuracy, hints included"


def test_the_table_and_the_plots_have_one_definition(tmp_path):
    write_metrics(tmp_path, by_hand())
    rows, facts = summarize(tmp_path)
    five = "first 5 / last 5"
    assert rows == [
        ("validation accuracy", "30.0% ± 4.0%", "75.0% ± 5.0%", "step 0 / step 12"),
        ("training accuracy", "53.0%", "60.0%", five),
        ("all-success groups", "6.0%", "20.0%", five),
        ("all-fail groups", "8.5%", "5.0%", five),
        ("degenerate groups", "12.0%", "40.0%", five),
        ("echo loss, nats", "0.3000", "1.0000", five),
        ("EchoClips per step", "3.0", "10.0", five),
        ("seconds per step", "3.00", "10.00", five),
    ]
    assert facts["val/accuracy_before"] == 0.3 and facts["val/accuracy_se_after"] == 0.05 and facts["steps"] == 12
    assert facts["group/all_success_first"] == pytest.approx(0.06)
    assert facts["group/all_success_last"] == pytest.approx(0.2)


def few_clips() -> list[dict]:
    rows = by_hand()
    for row in rows[1:8]:
        row |= {"echo/clips": 0, "echo/loss": 0.0}
    return rows


@pytest.mark.parametrize("rows", [by_hand(), no_clips(), few_clips()], ids=["whole", "no clips", "few clips"])
def test_the_table_fits_eighty_columns(tmp_path, rows):
    write_metrics(tmp_path, rows)
    out = io.StringIO()
    table, _ = summarize(tmp_path)
    with Display(12, plain=True, console=make_console(file=out, width=80)) as display:
        display.summary(table, [])
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for title, first, last, steps in table:
        (line,) = (line for line in lines if line.strip().startswith(title))
        assert line.split()[: len(title.split())] == title.split()
        assert all(cell in line for cell in (first, last)), "numbers are not wrapped"
        assert steps in line or title == "no EchoClip"


def test_the_table_says_why_there_is_no_clip(tmp_path):
    write_metrics(tmp_path, no_clips())
    rows, facts = summarize(tmp_path)
    assert rows[-1] == ("no EchoClip", "", "", "240 verified rollouts, all truncated")
    assert facts["echo/no_clip"] == "240 verified rollouts, all truncated"
    assert not any(row[0].startswith("echo loss") for row in rows)
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
    assert last == (("no EchoClip", "", "", reason) if reason else ("training accuracy", "50.0%", "50.0%", last[3]))


def test_a_validation_before_training_is_not_shown_as_one_after_it(tmp_path):
    rows = by_hand()
    for name in ("val/accuracy_reward", "val/accuracy_se", "val/problems"):
        del rows[-1][name]
    write_metrics(tmp_path, rows)
    (first, *_), facts = summarize(tmp_path)
    assert first == ("validation accuracy", "30.0% ± 4.0%", "-", "step 0")
    assert "val/accuracy_after" not in facts
    write_metrics(tmp_path, [rows[0] | {"step": 150}])  # a validation of a checkpoint, without training
    (first, *_), facts = summarize(tmp_path)
    assert first == ("validation accuracy", "-", "30.0% ± 4.0%", "step 150")


def test_the_error_of_a_validation_without_incorrect_answers():
    rows = [{"step": 0, "val/accuracy_reward": 1.0, "val/accuracy_se": 0.0, "val/problems": 9}]
    rows += [{"step": 1, "val/accuracy_reward": 0.0, "val/problems": 9}]
    assert RunData.of(rows).validations()[2].tolist() == pytest.approx([0.1, 0.1])


def overlay_texts(monkeypatch, tmp_path: Path, runs: dict[str, list[dict]]) -> list[tuple[list[str], int]]:
    """(texts, number of curves) of learning.png and degeneration.png of several runs."""
    for name, rows in runs.items():
        write_metrics(tmp_path / name, rows)
    found = []

    def look(figure, path):
        if path.name != "curves.png":
            (axes,) = figure.axes
            texts = [axes.get_title(loc="left").strip(), *(text.get_text() for text in axes.texts)]
            found.append((texts, sum(len(line.get_xdata()) > 1 for line in axes.lines)))
        return path

    monkeypatch.setattr(plot_compare, "save", look)
    plot_compare.compare([tmp_path / name for name in runs], tmp_path / "out")
    return found


def test_training_accuracy_is_not_shown_as_validation(monkeypatch, tmp_path):
    never = [{name: value for name, value in row.items() if not name.startswith("val/")} for row in by_hand()]
    (texts, lines), (degenerate, _) = overlay_texts(monkeypatch, tmp_path, {"a": by_hand(), "b": never[1:]})
    assert texts[0] == "Validation accuracy of the runs"
    assert "without a validation: b" in texts[1] and texts[2:] == ["a"] and lines == 1
    assert degenerate[0] == "Groups without a policy gradient" and "rewards are all equal" in degenerate[1]
    (texts, lines), _ = overlay_texts(monkeypatch, tmp_path / "none", {"a": never[1:], "b": never[1:]})
    assert texts[0] == "Training accuracy of the runs" and lines == 4  # raw and smoothed of each
    assert set(texts[2:]) == {"a", "b"}


def test_ungraded_rollouts_and_demonstrations_are_not_counted(tmp_path):
    rows = read_rollouts(write_rollouts_of(tmp_path, 3, prompts=1, n=5))
    for row, verified in zip(rows, (True, True, False, False, None), strict=True):
        row["verified"] = verified
    rows[1]["expert"] = True
    figure = entropy_figure(rows)
    axes = figure.axes[0]
    assert any("1 of 3 correct" in text.get_text() for text in axes.texts)
    assert [label.get_text() for label in axes.get_yticklabels()].count("") == 1


def test_smoothed_lines_are_moving_means():
    shown = panel(panels.zero_advantage, by_hand())
    half = (window_for(len(STEPS) + 1) | 1) // 2
    values = [math.nan, *(0.4 + step / 100 for step in STEPS)]
    means = [np.nanmean(values[max(step - half, 0) : step + half + 1]) for step in STEPS]
    assert shown.has_line(means)
