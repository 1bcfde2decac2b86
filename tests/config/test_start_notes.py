"""Notes at start tell what a valid configuration means, where users may expect something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from echorl_vl import __version__, train
from echorl_vl.config import ENGINES, load_config
from echorl_vl.start_notes import start_notes

GRPO = "echo term on with coef 0.001: set echo.coef=0 for plain GRPO"


def test_a_file_of_easyr1_trains_echorl_and_is_told(minimal: Path) -> None:
    assert start_notes(load_config(minimal)) == [GRPO]


@pytest.mark.parametrize("override", ["echo.coef=0", "echo.coef=0.001", "echo={coef: 0.01}", "echo.select=topk"])
def test_whoever_wrote_an_echo_block_knows(minimal: Path, override: str) -> None:
    assert start_notes(load_config(minimal, [override])) == []


def test_an_empty_block_says_nothing_of_the_weight(minimal: Path) -> None:
    assert start_notes(load_config(minimal, ["echo="])) == [GRPO]


def test_the_base_is_named(minimal: Path) -> None:
    for overrides, base in (
        (["algorithm.adv_estimator=rloo"], "rloo"),
        (["algorithm.name=grpo", "algorithm.adv_estimator=rloo"], "rloo"),
        (["algorithm.name=grpo"], "GRPO"),
        (["algorithm.name=dapo"], "dapo"),
        (["algorithm.name=dr_grpo"], "dr_grpo"),
        (["algorithm.name=reinforce_rej"], "reinforce_rej"),
    ):
        assert start_notes(load_config(minimal, overrides))[-1].endswith(f"set echo.coef=0 for plain {base}")


def test_an_algorithm_without_an_echo_term_has_none_to_tell_of(minimal: Path) -> None:
    overrides = ["algorithm.name=sft", "data.demonstration_key=solution"]
    assert not any("echo term on" in line for line in start_notes(load_config(minimal, overrides)))


def test_keys_that_win_over_an_algorithm_are_told_too(minimal: Path) -> None:
    overrides = ["algorithm.name=dapo", "worker.actor.clip_ratio_high=0.3", "echo.coef=0"]
    (line,) = start_notes(load_config(minimal, overrides))
    assert "worker.actor.clip_ratio_high = 0.3 (command line) wins" in line


def test_the_command_prints_them(minimal: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("echorl_vl.engines.start.check_hub", lambda config, engine: None)
    monkeypatch.setattr(type(ENGINES["local"]), "run", lambda self, config: 0)
    assert train.main([str(minimal), "engine=local", "worker.actor.kl_coef=1"]) == 0
    printed = capsys.readouterr().err.splitlines()
    assert printed[0].startswith("engine: local") and printed[1] == GRPO
    assert printed[2].startswith(
        "worker.actor.kl_coef = 1 (command line) has no effect, as in EasyR1: algorithm.kl_coef"
    )
    assert printed[3] == "clip of the probability ratio: 0.2 low (default), 0.3 high (default)"


def test_the_version(capsys) -> None:
    assert train.main(["--version"]) == 0
    assert capsys.readouterr().out == f"echorl-vl {__version__}\n"
