"""Notes and warnings go to stderr through the log; `--quiet` and `--verbose` say how many of them."""

from __future__ import annotations

import io
import logging

import pytest
from made_up_run import metric_rows, write_metrics, write_rollouts_of

from echorl_vl.errors import UserError
from echorl_vl.evaluation import compare
from echorl_vl.evaluation.console import bar
from echorl_vl.outputs import plots, show
from echorl_vl.outputs.command import job, make_parser, parse_arguments
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.log import LOGGER, TerminalHandler, is_quiet, log_above, set_up_logging

logger = logging.getLogger("echorl_vl.engines.local.trainer")


@pytest.fixture(autouse=True)
def logging_of_a_program() -> None:
    set_up_logging()


def log_everything() -> None:
    for level in ("debug", "info", "warning", "error"):
        getattr(logger, level)("the %s", level)


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (logging.WARNING, ["warning: the warning", "error: the error"]),
        (logging.INFO, ["the info", "warning: the warning", "error: the error"]),
        (
            logging.DEBUG,
            ["debug: engines.local.trainer: the debug", "the info", "warning: the warning", "error: the error"],
        ),
    ],
)
def test_a_level_shows_its_records_and_those_above_on_stderr(level, lines, capsys):
    set_up_logging(level)
    log_everything()
    captured = capsys.readouterr()
    assert captured.err.splitlines() == lines and captured.out == ""


def test_a_second_setup_adds_no_second_handler(capsys):
    set_up_logging()
    logger.info("once")
    assert capsys.readouterr().err == "once\n"
    assert len([handler for handler in LOGGER.handlers if isinstance(handler, TerminalHandler)]) == 1


def test_a_record_is_one_line_however_long_it_is(capsys):
    logger.info("word " * 100)
    assert capsys.readouterr().err == "word " * 100 + "\n"


def test_a_record_is_shown_and_not_obeyed(capsys):
    logger.warning("reward raised \x1b[2J [red]for[/red] %s", "\u202e:smile:")
    assert capsys.readouterr().err == "warning: reward raised \\x1b[2J [red]for[/red] \\u202e:smile:\n"


def test_the_log_goes_above_a_live_display(capsys):
    console = make_console(file=io.StringIO(), force_terminal=True, color_system=None)
    with log_above(console):
        logger.info("above")
    logger.info("after")
    assert console.file.getvalue() == "• above\n"
    assert capsys.readouterr().err == "after\n"


@pytest.mark.parametrize("flag", ["--quiet", "--verbose"])
def test_the_flags_set_the_level(flag):
    options = parse_arguments(make_parser("show", "echorl_vl.outputs.show", "Shows."), [flag])
    assert (options.quiet, options.verbose) == (flag == "--quiet", flag == "--verbose")
    assert LOGGER.level == (logging.WARNING if flag == "--quiet" else logging.DEBUG)
    assert is_quiet() == (flag == "--quiet")


def test_the_flags_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(make_parser("show", "echorl_vl.outputs.show", "Shows."), ["--quiet", "--verbose"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_without_a_program_nothing_is_quiet():
    LOGGER.setLevel(logging.NOTSET)
    assert not is_quiet()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_quiet_training_shows_its_warnings_alone(terminal, capsys):
    set_up_logging(logging.WARNING)
    console = make_console(file=io.StringIO(), force_terminal=terminal)
    with Display(2, console=console) as display:
        display.phase("gen")
        display.step(1, {"reward/accuracy": 0.5, "reward/timeouts": 2.0})
        display.step(2, {"reward/accuracy": 0.5})
        display.summary([("accuracy", "1", "2")], ["metrics.jsonl"])
    assert console.file.getvalue() == ""
    assert capsys.readouterr().err == "warning: step 1: answers not scored: 2 timed out\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_quiet_evaluation_shows_no_progress(terminal):
    set_up_logging(logging.WARNING)
    console = make_console(file=io.StringIO(), force_terminal=terminal)
    with bar(console, "gsm8k: grading", 2) as update:
        update(1)
        update(2, 2)
    assert console.file.getvalue() == ""


def test_quiet_keeps_what_a_command_is_run_for(tmp_path, capsys):
    write_metrics(tmp_path, metric_rows(3))
    write_rollouts_of(tmp_path, 3, prompts=2, n=3)
    shown = {}
    for flags in ([], ["--quiet"], ["--verbose"]):
        assert show.main([str(tmp_path), *flags]) == 0
        shown[tuple(flags)] = capsys.readouterr().out
    assert "ground truth: " in shown[()] and set(shown.values()) == {shown[()]}


def test_plots_with_quiet_print_nothing(tmp_path, capsys):
    write_metrics(tmp_path, metric_rows(3))
    assert plots.main([str(tmp_path), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == "" and list((tmp_path / "plots").glob("*.png"))


def test_an_error_is_shown_at_every_level_and_its_place_with_verbose(tmp_path, capsys):
    missing = str(tmp_path / "nowhere")
    for flags in (["--quiet"], [], ["--verbose"]):
        assert compare.main([missing, missing, *flags]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {missing}")
        assert ("Traceback" in error) == (flags == ["--verbose"])


def test_a_usage_error_comes_out_of_any_command_with_its_status(capsys):
    def main() -> int:
        raise UserError("no such thing")

    assert job(main)() == 2
    assert capsys.readouterr().err == "error: no such thing\n"
