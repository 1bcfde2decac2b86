"""Every experiment from the command line at two steps, and what its arms hold equal in a training."""

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
    """One folder for all, so that experiments share their runs."""
    return tmp_path_factory.mktemp("evidence")


def in_this_process(command, out, enough):
    """Stands for a training in a process of its own, which takes ten seconds to import what is here already."""
    assert command[1:3] == ["-m", "echorl_vl.train"]
    return program.main(command[3:])


@pytest.mark.parametrize(
    ("name", "task"),
    [(name, "text") for name in experiment_names()] + [("steps", "pictures"), ("traces", "pictures")],
)
def test_an_experiment_writes_numbers_a_plot_and_a_sentence(out, name, task, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "COEFS", (0.001,))
    monkeypatch.setattr(sweep, "CHANGES", FEWER)
    if name != "degeneration":  # one with the real thing
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
    """Metrics of a training of two steps."""
    own = ["echo.coef=0.1", "trainer.val_freq=-1", "trainer.val_before_train=false", "data.val_files=''"]
    own += ["trainer.logger=[file]", f"trainer.save_checkpoint_path={folder}", "engine=local"]
    arguments = ["configs/math_tiny.yaml", *SMALL, *own, *keys]
    assert program.main(arguments) == 0
    return [
        {key: value for key, value in row.items() if not key.startswith(NOT_REPEATABLE)} for row in read_metrics(folder)
    ]


def test_the_arm_that_only_keeps_groups_starts_on_the_groups_of_the_arm_with_the_term(tmp_path):
    of = make_setup("text", None, [*SMALL, "trainer.max_steps=2"], seeds=(1,))
    arms = helps.arms(of, 1, "dapo")
    first = {}
    for name in (helps.SAMPLING, "with"):
        assert program.main([*arms[name].arguments, f"trainer.save_checkpoint_path={tmp_path / name}"]) == 0
        first[name] = read_metrics(tmp_path / name)[0]
    kept, whole = first[helps.SAMPLING], first["with"]
    assert "echo/clips" not in kept and "echo/clips" in whole
    for name in ("sampling/groups", "sampling/kept", "group/all_success", "adv/zero_share", "actor/pg_loss"):
        assert kept[name] == whole[name], name


def test_the_papers_choice_is_the_papers_run(tmp_path):
    moved, own = train(tmp_path / "moved", "echo.clip_tokens=as_max"), train(tmp_path / "own")
    assert [row.pop(OVERLAP) for row in moved] == pytest.approx([1.0] * len(moved))
    assert moved == own


def test_another_choice_has_clips_as_many_and_as_long(tmp_path):
    own, last = train(tmp_path / "own")[0], train(tmp_path / "last", *LAST)[0]
    assert 0 <= last[OVERLAP] < 1
    assert own["echo/clips"] > 0
    for name in ("echo/clips", "echo/clip_tokens", "reward/accuracy", "actor/entropy"):
        assert own[name] == pytest.approx(last[name]), name
    assert own["echo/loss"] != pytest.approx(last["echo/loss"], rel=1e-3)
