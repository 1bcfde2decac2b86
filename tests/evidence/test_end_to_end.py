"""Every experiment from the command line with two steps per training run, and how the arms of an experiment differ."""

from __future__ import annotations

import json

import pytest
from small_runs import SMALL

from echorl_vl import train as program
from echorl_vl.core.metric_names import ECHO_OVERLAP as OVERLAP
from echorl_vl.evidence import store
from echorl_vl.evidence.__main__ import main
from echorl_vl.evidence.experiment import experiment_names
from echorl_vl.evidence.experiments import helps, sweep
from echorl_vl.evidence.report import report
from echorl_vl.evidence.setup import make_setup
from echorl_vl.outputs.tracker import read_metrics

pytestmark = pytest.mark.slow

FEWER = {"2 highest steps": sweep.CHANGES["2 highest steps"]}
LAST = ("echo.select=last", "echo.clip_tokens=as_max")
NOT_REPEATABLE = ("timing_s/", "perf/", "time")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """One folder for all experiments, which share runs."""
    return tmp_path_factory.mktemp("evidence")


def in_this_process(command, out, enough):
    """Replaces a training run in a separate process, which needs ten seconds for its imports."""
    assert command[1:3] == ["-m", "echorl_vl.train"]
    return program.main(command[3:])


@pytest.mark.parametrize(
    ("name", "task"),
    [(name, "text") for name in experiment_names()] + [("steps", "pictures"), ("traces", "pictures")],
)
def test_an_experiment_writes_numbers_a_plot_and_a_sentence(out, name, task, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "COEFS", (0.001,))
    monkeypatch.setattr(sweep, "CHANGES", FEWER)
    if name != "degeneration":  # one with a real process
        monkeypatch.setattr(store, "_until_ended", in_this_process)
    arguments = [name, "--task", task, "--seeds", "1", "--samples", "2", "--problems", "8", "--out", str(out), *SMALL]
    assert main(arguments) == 0
    [file] = (out / "results").glob(f"{name}_{task}_*.json")
    result = json.loads(file.read_text())
    assert result["sentence"] in capsys.readouterr().out
    assert result["verdict"] == "undecided" and "one seed gives no interval" in result["sentence"]
    assert all(len(contrast["values"]) == 1 for contrast in result["claims"])
    assert (
        len(result["commits_of_runs"]) == 1
        and result["seconds"] > 0
        and result["steps"] == 2
        and result["environment"]["torch"]
    )
    assert file.with_suffix(".png").stat().st_size > 10_000
    assert "not run yet" not in report(out).split(f"## {name}\n")[1].split("\n## ")[0]

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if "results" not in path.parts}
    assert main(arguments) == 0
    assert "runs are finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if "results" not in path.parts} == before


def train(folder, *keys):
    """Return the metrics of a training run of two steps."""
    own = ["echo.coef=0.1", "trainer.val_freq=-1", "trainer.val_before_train=false", "data.val_files=''"]
    own += ["trainer.logger=[file]", f"trainer.save_checkpoint_path={folder}", "engine=local"]
    arguments = ["configs/math_tiny.yaml", *SMALL, *own, *keys]
    assert program.main(arguments) == 0
    return [
        {key: value for key, value in row.items() if not key.startswith(NOT_REPEATABLE)} for row in read_metrics(folder)
    ]


def test_the_arms_with_and_without_the_term_start_with_the_same_groups(tmp_path):
    of = make_setup("text", None, [*SMALL, "trainer.max_steps=2"], seeds=(1,))
    arms = helps.arms(of, 1, "dapo")
    first = {}
    for name in (helps.SAMPLING, "with"):
        assert program.main([*arms[name].arguments, f"trainer.save_checkpoint_path={tmp_path / name}"]) == 0
        first[name] = read_metrics(tmp_path / name)[0]
    without, with_term = first[helps.SAMPLING], first["with"]
    assert "echo/clips" not in without and "echo/clips" in with_term
    for name in ("sampling/groups", "sampling/kept", "group/all_success", "adv/zero_share", "actor/pg_loss"):
        assert without[name] == with_term[name], name


def test_clips_as_long_as_the_papers_are_the_papers_for_the_same_step(tmp_path):
    as_max, paper = train(tmp_path / "as_max", "echo.clip_tokens=as_max"), train(tmp_path / "paper")
    assert [row.pop(OVERLAP) for row in as_max] == pytest.approx([1.0] * len(as_max))
    assert as_max == paper


def test_other_steps_give_as_many_clips_of_the_same_length(tmp_path):
    paper, last = train(tmp_path / "paper")[0], train(tmp_path / "last", *LAST)[0]
    assert 0 <= last[OVERLAP] < 1
    assert paper["echo/clips"] > 0
    for name in ("echo/clips", "echo/clip_tokens", "reward/accuracy", "actor/entropy"):
        assert paper[name] == pytest.approx(last[name]), name
    assert paper["echo/loss"] != pytest.approx(last["echo/loss"], rel=1e-3)
