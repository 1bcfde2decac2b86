"""Invalid input ends a run with status 2 and a message that says what was given and what is expected."""

from __future__ import annotations

import json
import shutil

import pytest

from echorl_vl import train

CASES = {
    "unknown key": (("echo.coeff=1",), "echo.coef"),
    "out of range": (("worker.rollout.temperature=0",), "worker.rollout.temperature"),
    "one rollout in a group": (("worker.rollout.n=1",), "expected at least 2"),
    "batches that don't divide": (("worker.actor.global_batch_size=3",), "data.rollout_batch_size"),
    "micro-batches that don't divide": (("worker.actor.micro_batch_size_per_device_for_update=5",), "divisor of 16"),
    "unknown model": (("worker.actor.model.model_path=/nowhere/model",), "/nowhere/model"),
    "missing data": (("data.train_files=/nowhere/train.parquet",), "/nowhere/train.parquet"),
    "unknown column": (("data.prompt_key=qestion",), "data.prompt_key"),
    "prompts too long": (("data.max_prompt_length=20",), "data.max_prompt_length"),
    "set smaller than a batch": (
        ("data.rollout_batch_size=32", "worker.actor.global_batch_size=32"),
        "24 problems, but a batch takes 32",
    ),
    "unknown reward function": (
        ("worker.reward.reward_function=echorl_vl/rewards/geometry.py:compute_scores",),
        "compute_score",
    ),
    "a key for another engine": (("engine=easyr1", "trainer.n_gpus_per_node=1"), "always validates"),
    "unknown loss": (("worker.actor.loss_type=pppo",), "default"),
    "no GPU": (("trainer.device=cuda",), "no GPU"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_invalid_value_is_reported_before_anything_is_written(case: str, run) -> None:
    if case == "no GPU":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    overrides, expected = CASES[case]
    done = run(*overrides)
    assert done.status == 2, done.output
    assert expected in done.output, done.output
    assert "Traceback" not in done.output
    assert not list(done.folder.glob("global_step_*")) and not (done.folder / "metrics.jsonl").exists()


def test_a_missing_file_and_unknown_options_are_errors(capsys) -> None:
    assert train.main(["configs/geo3k_tinny.yaml"]) == 2
    assert "geo3k_tiny.yaml" in capsys.readouterr().err
    assert train.main(["--helpp", "configs/geo3k_tiny.yaml"]) == 2
    assert "--help" in capsys.readouterr().err
    assert train.main(["echo.coef=1"]) == 2
    assert "configuration file" in capsys.readouterr().err


def test_help_and_the_configuration_are_printed(capsys) -> None:
    assert train.main(["--help"]) == 0
    assert "echo.coef" in capsys.readouterr().out
    assert train.main(["configs/geo3k_tiny.yaml", "echo.coef=0.25", "--print-config"]) == 0
    assert "coef: 0.25" in capsys.readouterr().out


def test_a_broken_image_stops_the_run_and_names_its_row(run, tmp_path, problems) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(problems).to_pylist()
    rows[5]["images"] = [{"bytes": rows[5]["images"][0]["bytes"][:200], "path": None}]
    (tmp_path / "set").mkdir()
    lines = []
    for number, row in enumerate(rows):
        (tmp_path / f"set/{number}.png").write_bytes(row["images"][0]["bytes"])
        lines.append(json.dumps({**row, "images": [f"{number}.png"]}))
    (tmp_path / "set.jsonl").write_text("\n".join(lines))
    done = run(
        f"data.train_files={tmp_path / 'set.jsonl'}",
        f"data.image_dir={tmp_path / 'set'}",
        "data.rollout_batch_size=24",
        "worker.actor.global_batch_size=24",
    )
    assert done.status == 2 and "set.jsonl, row 5, images[0]" in done.output, done.output


@pytest.mark.slow
def test_an_unfinished_run_is_not_resumed_with_another_configuration(run) -> None:
    first = run("trainer.max_steps=2", "trainer.save_freq=1")
    (first.folder / "summary.json").unlink()
    shutil.rmtree(first.folder / "global_step_2")
    changed = run("trainer.max_steps=2", "trainer.save_freq=1", "worker.actor.optim.lr=0.5")
    assert changed.status == 2
    assert "worker.actor.optim.lr" in changed.output and "trainer.save_checkpoint_path" in changed.output


@pytest.mark.slow
def test_after_a_failed_start_the_corrected_command_uses_the_same_folder(run) -> None:
    assert run("data.prompt_key=qestion").status == 2
    done = run("trainer.max_steps=1")
    assert done.status == 0, done.output
    assert not (done.folder.parent / "run_2").exists() and done.metrics


def test_an_error_in_a_later_step_saves_the_steps_before_it(run, tmp_path) -> None:
    (tmp_path / "later.py").write_text(
        "import os\n"
        "REWARD_TYPE = 'batch'\n"
        f"COUNT = {str(tmp_path / 'count')!r}\n"
        "def compute_score(rows):\n"
        "    with open(COUNT, 'a') as file:\n"
        "        file.write('x')\n"
        "    if os.path.getsize(COUNT) > 2:\n"
        "        raise KeyError('no such column')\n"
        "    return [{'overall': 0.0, 'accuracy': 0.0} for _ in rows]\n"
    )
    done = run(f"worker.reward.reward_function={tmp_path / 'later.py'}:compute_score", "trainer.max_steps=9")
    assert done.status == 2 and "no such column" in done.output, done.output
    assert [path.name for path in done.folder.glob("global_step_*")] == ["global_step_2"]


IN_THE_WAY = """
from pathlib import Path

REWARD_TYPE = "batch"
RUN, COUNT = Path({run!r}), Path({count!r})

def compute_score(rows):
    with COUNT.open("a") as file:
        file.write("x")
    if COUNT.stat().st_size == 3:  # while the third step is graded
        (RUN / "rollouts" / "step_000003.parquet" / "in the way").mkdir(parents=True)
    return [{{"overall": float(index % 2), "accuracy": float(index % 2)}} for index in range(len(rows))]
"""


@pytest.mark.slow
def test_a_step_whose_rollouts_cannot_be_written_saves_the_step_before_it(run, tmp_path) -> None:
    """The saved weights are those after the last complete step."""
    folders = {name: tmp_path / name for name in ("whole", "blocked")}
    rewards = {}
    for name, folder in folders.items():
        rewards[name] = tmp_path / f"{name}.py"
        count = str(tmp_path / f"{name}.count")
        watched = folder if name == "blocked" else tmp_path / "elsewhere"
        rewards[name].write_text(IN_THE_WAY.format(run=str(watched), count=count))

    def train(name: str, *overrides: str):
        reward = f"worker.reward.reward_function={rewards[name]}:compute_score"
        return run(reward, "trainer.max_steps=3", *overrides, folder=folders[name])

    whole, blocked = train("whole", "trainer.save_freq=1"), train("blocked")
    assert whole.status == 0, whole.output
    assert blocked.status == 2 and "saved step 2 before stopping" in blocked.output, blocked.output
    name = "global_step_2/actor/huggingface/model.safetensors"
    assert (blocked.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_stop_for_nan_saves_nothing_if_the_step_has_changed_the_weights(run, monkeypatch) -> None:
    """With two optimizer steps per step: the first of step 2 changes the weights, the second is not finite."""
    import torch

    from echorl_vl.engines.local import update

    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def broken(*arguments, **options):
        calls.append(1)
        return clip(*arguments, **options) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(update.torch.nn.utils, "clip_grad_norm_", broken)
    halves = ("worker.actor.global_batch_size=2", "trainer.max_bad_steps=1", "trainer.max_steps=3")
    done = run(*halves)
    assert done.status == 2 and "not finite" in done.output
    assert not list(done.folder.glob("global_step_*"))  # the weights of step 1 are gone
