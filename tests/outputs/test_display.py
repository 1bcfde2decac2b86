"""The output of a training run: plain lines without a terminal, a live screen with one, and a summary."""

from __future__ import annotations

import io
import logging
import math
import time

import pytest
from made_up_run import metric_rows, write_rollouts_of
from rich.console import Console

from echorl_vl.core import EchoConfig
from echorl_vl.outputs import show
from echorl_vl.outputs.display import Display, sparkline
from echorl_vl.outputs.log import set_up_logging


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=100, highlight=False, color_system=None), out


def test_plain_output_is_one_line_a_step():
    terminal, out = console(False)
    rows = metric_rows(4, val_every=2)
    with Display(4, console=terminal) as display:
        for row in rows:
            display.phase("gen")
            display.step(row["step"], row)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("step 0/4  validation accuracy ")
    assert lines[0].endswith("± 2.0%")
    assert [line.split("  ")[0] for line in lines[1:]] == [f"step {n}/4" for n in (1, 2, 2, 3, 4, 4)]
    for part in ("accuracy 0.", "all-success ", "degenerate ", "echo 0.", "2.2 s", "3,000 tokens/s", "eta 0:00"):
        assert part in lines[1]
    assert "eta" not in lines[-2]
    assert "\x1b" not in out.getvalue()


def test_plain_output_of_few_or_bad_metrics():
    terminal, out = console(False)
    with Display(2, console=terminal) as display:
        display.step(1, {"reward/accuracy": 0.5, "echo/loss": math.nan, "group/all_success": None})
        display.step(2, {"something": 1.0})
    assert out.getvalue().splitlines() == ["step 1/2  accuracy 0.500  eta 0:00"]


MINED = {"reward/accuracy": 0.5, "echo/coef": 0.001, "echo/loss": 0.0, "echo/clips": 0, "echo/verified": 12}
REASONS = {
    "no rollout was verified": {"echo/verified": 0},
    "12 verified rollouts, all truncated": {"echo/left_out_truncated": 12, "echo/left_out_mixed": 0},
    "1 verified rollout, it is truncated": {"echo/verified": 1, "echo/left_out_truncated": 1},
    "12 verified rollouts, all in groups of unequal rewards": {"echo/left_out_mixed": 12},
    "12 verified rollouts: 9 truncated, 3 without a step that is long enough": {
        "echo/left_out_truncated": 9,
        "echo/left_out_short": 3,
    },
}


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("reason", "metrics"), REASONS.items(), ids=REASONS.keys())
def test_a_step_without_a_clip_says_why(reason, metrics, plain):
    terminal, out = console(not plain)
    with Display(4, console=terminal) as display:
        display.step(1, MINED | metrics)
    assert f"no clip ({reason})" in out.getvalue() and "echo 0.0000" not in out.getvalue()


@pytest.mark.parametrize(
    ("echo", "step", "reason"),
    [
        (EchoConfig(start_step=3), 3, "no clip (term not started, echo.start_step is 3)"),
        (EchoConfig(decay="linear", decay_steps=2), 4, "no clip (term has decayed to 0)"),
        (EchoConfig(coef=0.0), 1, None),
        (None, 1, None),
    ],
)
def test_a_step_without_the_term_says_why(echo, step, reason):
    terminal, out = console(False)
    with Display(4, console=terminal, echo=echo) as display:
        display.step(step, {"reward/accuracy": 0.5, "echo/coef": 0.0})
    assert reason in out.getvalue() if reason else "no clip" not in out.getvalue()


def test_a_step_with_clips_shows_its_loss():
    terminal, out = console(False)
    with Display(4, console=terminal, echo=EchoConfig()) as display:
        display.step(1, MINED | {"echo/clips": 3, "echo/loss": 0.25})
    assert "echo 0.2500" in out.getvalue() and "no clip" not in out.getvalue()


def test_the_step_line_warns_of_unscored_answers():
    for terminal in (False, True):
        screen, out = console(terminal)
        with Display(2, console=screen) as display:
            lost = {"reward/timeouts": 12.0, "reward/crashes": 0.0, "reward/errors": 1.0}
            display.step(1, {"reward/accuracy": 0.5} | lost)
        assert "warning: answers not scored: 12 timed out, 1 raised" in out.getvalue()


def test_live_screen_and_summary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    set_up_logging()
    terminal, out = console(True)
    with Display(10, 3, console=terminal) as display:
        display.phase("gen")
        for row in metric_rows(10)[:8]:
            display.step(row["step"], row)
        logging.getLogger("echorl_vl.engines").info("a note")
        display.summary(
            [("validation accuracy", "48.1% ± 2.0%", "87.0% ± 1.0%", "step 0 / step 10")],
            [tmp_path / "metrics.jsonl", "/x/y.png"],
        )
    text = out.getvalue()
    for part in (
        "step 7/10",
        "70%",
        "accuracy",
        "all-success",
        "degenerate groups",
        "echo loss",
        "tokens/s",
        "• a note",
    ):
        assert part in text
    for part in ("first", "last", "steps", "validation accuracy", "48.1% ± 2.0%", "87.0% ± 1.0%", "step 0 / step 10"):
        assert part in text[text.index("Summary") :]
    assert "  metrics.jsonl\n" in text  # relative to the current folder
    assert "  /x/y.png\n" in text


def test_the_screen_ends_when_training_fails():
    terminal, out = console(True)
    with pytest.raises(KeyboardInterrupt), Display(10, console=terminal) as display:
        display.step(1, {"reward/accuracy": 0.5})
        raise KeyboardInterrupt
    assert out.getvalue().rstrip("\n").endswith("\x1b[?25h")  # the cursor is back


def test_a_step_costs_less_than_one_percent_of_two_seconds():
    terminal, _ = console(True)
    row = metric_rows(2)[1]
    with Display(1000, console=terminal) as display:
        for step in range(200):
            display.step(step, row)
        started = time.process_time()
        for step in range(200, 220):
            display.phase("gen")
            display.step(step, row)
        assert (time.process_time() - started) / 20 < 0.02


def test_sparkline():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.0] * 50 + [1.0] * 50, width=4) == "▁▁██"
    assert sparkline([math.nan, 2.0, -1.0]) == " █▁"
    assert sparkline([]) == ""


def test_show_rollouts(tmp_path, capsys):
    write_rollouts_of(tmp_path, 3, prompts=2, n=3)
    write_rollouts_of(tmp_path, 12, prompts=2, n=3, seed=4)
    terminal, out = console(False)
    assert show.main([str(tmp_path), "--only", "clips"], terminal) == 0
    text = out.getvalue()
    rows = show.read_rollouts(show.find_file(tmp_path))
    sources = [row for row in rows if row["is_clip_source"]]
    assert rows[0]["step"] == 12
    assert text.count("└─ EchoClip") == len(sources)
    for row in sources:
        block = text[text.index(f"rollout {row['row']}, ") :].split("\n", 1)[1].split("────")[0]
        lines = [line.strip() for line in block.splitlines()]
        at = next(index for index, line in enumerate(lines) if line.startswith("└─ EchoClip"))
        assert (
            row["step_texts"][row["clip_step"]].strip() in lines[at - 1]
        )  # the mark is just below the clip's last step
        assert lines[at - 1].startswith(f"│ {row['clip_step_entropy']:5.2f}".strip())
    for arguments in (
        ["--step", "3", "--group", "1"],
        ["--only", "incorrect", "--count", "1"],
        ["--only", "truncated"],
    ):
        assert show.main([str(tmp_path), *arguments], terminal) == 0
    assert show.main([str(tmp_path), "--step", "4"], terminal) == 2
    assert "it has 3, 12" in capsys.readouterr().err
    assert show.main([str(tmp_path / "nowhere")], terminal) == 2
