"""The store: finished runs are not repeated, failed ones leave nothing, stopped ones are resumed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from echorl_vl.errors import UserError
from echorl_vl.evidence import store as store_module
from echorl_vl.evidence.runs import BUDGET, Measurement, train, train_pair
from echorl_vl.evidence.store import Store, estimate, step_within_budget
from echorl_vl.evidence.testing import final_test
from echorl_vl.outputs.environment import git_commit

CALLS = []


def counted(probe, seed, fail=False):
    CALLS.append(seed)
    if fail:
        raise UserError("this measurement fails")
    return {"seed": seed}


@pytest.fixture
def no_models(monkeypatch):
    """Replace probes by ones that load no model; returns the list of requested models."""
    opened = []

    class Opened:
        def __init__(self, setup, model):
            opened.append(model)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(store_module, "open_probe", Opened)
    CALLS.clear()
    return opened


def finish(store, run, rows=(), checkpoints=()):
    """Write the files of a finished training that the store reads."""
    folder = store.run_folder(run)
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in checkpoints:
        (folder / f"global_step_{step}").mkdir()
    return folder


def test_a_finished_measurement_is_not_repeated(setup, tmp_path, no_models):
    of, lines = setup(), []
    runs = [Measurement(of, counted, seed) for seed in (1, 2)]
    store = Store(tmp_path)
    assert not store.done(runs[0])
    store.run(runs[:1], lines.append)
    store.run(runs, lines.append)
    assert CALLS == [1, 2] and len(lines) == 2
    assert [store.result(run) for run in runs] == [{"seed": 1}, {"seed": 2}]
    assert store.seconds(runs[0]) >= 0
    assert store.commit(runs[0]) == git_commit(Path(__file__).parent)


def test_a_damaged_measurement_is_named(setup, tmp_path, no_models):
    run, store = Measurement(setup(), counted, 1), Store(tmp_path)
    store.run([run], lambda line: None)
    [file] = (tmp_path / "measured").iterdir()
    for text, said in (
        ('{"seconds": 1, "git_commit": null}', "result: expected an object, got nothing"),
        ("{", "read"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=rf"{file.name}.*{said}"):
            store.result(run)


def test_measurements_of_one_policy_load_it_once(setup, tmp_path, no_models):
    of = setup()
    run = train(of, 1)
    store = Store(tmp_path)
    folder = finish(store, run, checkpoints=(2,))
    runs = [Measurement(of, counted, seed, run, 2) for seed in (1, 2)] + [Measurement(of, counted, 3)]
    store.run(runs, lambda _: None)
    assert no_models == [folder / "global_step_2" / "actor" / "huggingface", None]


def test_a_measurement_that_fails_leaves_nothing(setup, tmp_path, no_models):
    run = Measurement(setup(), counted, 1, options={"fail": True})
    with pytest.raises(UserError, match="this measurement fails"):
        Store(tmp_path).run([run], lambda _: None)
    assert not Store(tmp_path).done(run) and not list(tmp_path.rglob("*.json"))


def test_the_error_of_a_failed_training_shows_its_output(setup, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho reading\necho 'error: no such file'\nexit 2\n")
    python.chmod(0o755)
    monkeypatch.setattr(store_module.sys, "executable", str(python))
    with pytest.raises(
        UserError, match=r"grpo_echo_seed1_\w+ failed \(status 2\)(.|\n)*reading\n  error: no such file"
    ):
        Store(tmp_path).run([train(setup(), 1)], lambda _: None)
    python.write_text("#!/bin/sh\nexit 130\n")
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).run([train(setup(), 1)], lambda _: None)


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_is_forwarded_to_the_training(setup, tmp_path, monkeypatch, presses):
    """The training counts the interrupts and ends at the last one; later runs are not started."""
    python, said = tmp_path / "python", tmp_path / "said"
    python.write_text(
        f"#!/bin/sh\ncount=0\ntrap 'count=$((count + 1)); echo $count > {said}' INT\necho up > {said}\n"
        f"while test $count -lt {presses}; do sleep 0.05; done\nexit 0\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(store_module.sys, "executable", str(python))

    def press():
        for awaited in ("up", "1")[:presses]:
            while not said.exists() or said.read_text().strip() != awaited:
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).run([train(setup(), 1), train(setup(), 2)], lambda _: None)
    pressing.join()
    assert said.read_text() == f"{presses}\n"
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_a_training_is_stopped_when_its_budget_is_used_up(setup, tmp_path, monkeypatch):
    """It gets one interrupt, after the first step beyond the budget; a run tested at its last step gets none."""
    of = setup("trainer.max_steps=4")  # a budget of 4 steps x 4 prompts x 4 rollouts
    store, pair = Store(tmp_path), train_pair(of, 1, "dapo")
    python, said = tmp_path / "python", tmp_path / "said"
    script = "import json, os, signal, sys, time\n" + (
        "folder = sys.argv[-1].partition('=')[2]\n"
        "os.makedirs(folder)\n"
        f"signal.signal(signal.SIGINT, lambda *_: (open({str(said)!r}, 'a').write('asked '), sys.exit(130)))\n"
        "with open(f'{folder}/metrics.jsonl', 'w', buffering=1) as rows:\n"
        "    for step in range(1, 5):\n"
        "        rows.write(json.dumps({'step': step, 'sampling/groups': 8}) + '\\n')\n"
        "        time.sleep(0 if step < 3 else 2)\n"
        "open(f'{folder}/summary.json', 'w').write('{}')\n"
    )
    (tmp_path / "training.py").write_text(script)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/training.py "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(store_module.sys, "executable", str(python))
    store.run([pair["without"]], lambda _: None)
    assert said.read_text() == "asked " and store.done(pair["without"])
    assert not (store.run_folder(pair["without"]) / "summary.json").exists()
    store.run([train(of, 2, algorithm="dapo")], lambda _: None)
    assert said.read_text() == "asked "


def test_a_resumed_run_is_tested_at_a_regular_checkpoint(setup, tmp_path):
    of, store = setup("trainer.max_steps=30"), Store(tmp_path)
    run = train_pair(of, 1, "dapo")["without"]
    rows = [{"step": step, "sampling/groups": 4 if step < 8 else 400} for step in range(1, 31)]
    finish(store, run, rows, (2, 4, 6, 7, 8))  # 7: written when it was stopped
    assert step_within_budget(store.run_folder(run), final_test(of, 1, run)) == 6


def test_a_run_is_tested_at_the_end_of_its_budget(setup, tmp_path):
    of = setup("trainer.max_steps=4")  # a budget of 4 steps x 4 prompts x 4 rollouts
    store = Store(tmp_path)
    pair = train_pair(of, 1, "dapo")
    rows = [{"step": step, "sampling/groups": groups} for step, groups in enumerate((4, 8, 4, 4), 1)]
    finish(store, pair["without"], rows, (1, 2, 3, 4))
    assert step_within_budget(store.run_folder(pair["without"]), final_test(of, 1, pair["without"])) == 3
    finish(store, pair["with"], [{"step": step} for step in range(1, 5)], (1, 2, 3, 4))
    assert store.checkpoint(final_test(of, 1, pair["with"])).parts[-3] == "global_step_4"
    other = train(of, 2, algorithm="dapo")
    finish(store, other, [{"step": 1, "sampling/groups": 20}], (1,))
    assert final_test(of, 2, other).at == BUDGET and store.checkpoint(final_test(of, 2, other)) is None


def test_the_estimate_uses_the_times_of_finished_runs(setup, tmp_path):
    of = setup()
    store = Store(tmp_path)
    runs = [train(of, seed) for seed in (1, 2, 3)]
    planned = [*runs, Measurement(of, counted, 1), Measurement(of, counted, 2, seconds=None)]
    assert estimate(store, planned)["text, training"] == (3, pytest.approx(3 * of.step_seconds * 2))
    assert estimate(store, planned)["text, counted"] == (2, None)
    finish(store, runs[0], [{"step": 1, "timing_s/step": 3.0}, {"step": 2, "timing_s/step": 4.0}])
    assert estimate(store, planned)["text, training"] == (2, pytest.approx(14.0))
