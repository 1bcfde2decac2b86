"""Keys and overrides that are none: the message names the nearest key, or what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from refused import Write, error_of


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("worker.rollout_n=8", "worker.rollout.n"),
        ("rollout.n=8", "worker.rollout.n"),
        ("worker.rollout.m=8", "worker.rollout.n"),
        ("worker.rolout.n=8", "worker.rollout.n"),
        ("lr=1", "worker.actor.optim.lr"),
        ("optim.lr=1", "worker.actor.optim.lr"),
        ("worker.actor.optim.learning_rate=1", "worker.actor.optim.lr"),
        ("data.train_batch_size=8", "data.rollout_batch_size"),
        ("worker.actor.ppo_mini_batch_size=8", "worker.actor.global_batch_size"),
        ("worker.actor.kl_loss_coef=1", "algorithm.kl_coef"),
        ("echo.coeff=1", "echo.coef"),
        ("echo.lambda=1", "echo.coef"),
        ("coef=1", "echo.coef"),
        ("--worker.rollout.n=8", "worker.rollout.n"),
        ("+echo.coef=8", "echo.coef"),
        ("rollout={n: 8}", "worker.rollout"),
        ("actor={}", "worker.actor"),
    ],
)
def test_unknown_key_names_the_nearest(minimal: Path, override: str, nearest: str) -> None:
    message = error_of(minimal, override)
    key = override.split("=")[0]
    assert message == f"{key} (command line): unknown key; did you mean {nearest}?"


def test_unknown_key_without_a_neighbour_lists_what_there_is(minimal: Path) -> None:
    message = error_of(minimal, "xyzzy=1")
    assert message.endswith("the top level has data, algorithm, worker, trainer, echo, engine")


def test_unknown_key_in_a_file_names_file_and_line(write: Write, minimal: Path) -> None:
    path = write(minimal.read_text().replace("    n: 4\n", "    n: 4\n    topp: 0.5\n"))
    assert error_of(path) == f"worker.rollout.topp ({path} line 11): unknown key; did you mean worker.rollout.top_p?"


def test_dotted_key_in_a_file(write: Write, minimal: Path) -> None:
    path = write(minimal.read_text() + "worker.rollout.n: 8\n")
    assert "dotted keys are for the command line" in error_of(path)


@pytest.mark.parametrize("override", ["worker.rollout.n", "=3", "--help-me"])
def test_override_that_is_none(minimal: Path, override: str) -> None:
    assert "expected key=value" in error_of(minimal, override)


def test_override_with_broken_yaml(minimal: Path) -> None:
    assert "trainer.logger = [a (command line): invalid YAML" in error_of(minimal, "trainer.logger=[a")
