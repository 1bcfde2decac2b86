"""`--quiet` and `--verbose` of a training run and of an evaluation."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from short_runs import REPOSITORY, arguments

from echorl_vl import train
from echorl_vl.config import ENGINES
from echorl_vl.evaluation import run as evaluation
from echorl_vl.outputs.tracker import read_metrics

TINY = str(REPOSITORY / "configs/math_tiny.yaml")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local engine logs one record of each level instead of training."""

    def run(self, config) -> int:
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger("echorl_vl.engines.local.run"), level)("a record of level %s", level)
        return 0

    monkeypatch.setattr(type(ENGINES["local"]), "run", run)


@pytest.mark.parametrize(
    ("flags", "levels"),
    [(["--quiet"], ["warning"]), ([], ["info", "warning"]), (["--verbose"], ["debug", "info", "warning"])],
)
def test_the_flags_choose_what_is_logged(no_training, capsys, flags: list[str], levels: list[str]) -> None:
    assert train.main([TINY, *flags]) == 0
    captured = capsys.readouterr()
    assert [line.split()[-1] for line in captured.err.splitlines() if "a record of level" in line] == levels
    assert ("engine: local" in captured.err) == ("info" in levels)
    assert captured.out == ""


def test_quiet_and_verbose_exclude_each_other(capsys) -> None:
    assert train.main([TINY, "--quiet", "--verbose"]) == 2
    assert capsys.readouterr().err == "error: --quiet and --verbose can't be combined\n"


@pytest.mark.parametrize("flag", ["--print-config", "--dry-run"])
def test_quiet_keeps_what_a_command_is_asked_for(flag: str, capsys) -> None:
    shown = []
    for flags in ([flag], [flag, "--quiet"]):
        assert train.main([TINY, *flags]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and "\n" in shown[0]


def test_the_help_names_both_flags(capsys) -> None:
    assert train.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "\n  --quiet " in shown and "\n  --verbose " in shown
    with pytest.raises(SystemExit):
        evaluation.main(["--help"])
    assert {"--quiet", "--verbose"} <= set(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_quiet_run_trains_without_a_word(tmp_path: Path, problems: Path, capfd) -> None:
    assert train.main([*arguments(tmp_path / "run", problems, ()), "--quiet"]) == 0
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [1, 2]


@pytest.mark.slow
def test_a_verbose_run_names_the_phases_of_its_steps(tmp_path: Path, problems: Path, capfd) -> None:
    assert train.main([*arguments(tmp_path / "run", problems, ()), "--verbose"]) == 0
    captured = capfd.readouterr()
    steps = [line for line in captured.err.splitlines() if line.startswith("debug: engines.local.trainer: step ")]
    assert len(steps) == 2 and all(" gen " in step and " update_actor " in step for step in steps)
    assert [line.split("  ")[0] for line in captured.out.splitlines()[:2]] == ["step 1/2", "step 2/2"]
