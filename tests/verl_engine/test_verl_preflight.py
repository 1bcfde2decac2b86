"""Checks before a run of verl. Most of these tests don't need verl."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from echorl_vl.config import ENGINES, Config, load_config
from echorl_vl.engines.ray.resources import gpu_issues, memory_issues
from echorl_vl.engines.resources import GIB, Machine
from echorl_vl.engines.start import choose_engine
from echorl_vl.engines.verl.datasets import load_sets, readable_by_verl
from echorl_vl.engines.verl.engine import SMALLER
from echorl_vl.engines.verl.hooks import HOST
from echorl_vl.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "echorl_vl/tiny/model"
TEXT = REPOSITORY / "echorl_vl/tiny/arithmetic/model"
RECIPE = REPOSITORY / "configs/math_1_5b_verl.yaml"


def own_issues(config: Config) -> list:
    return list(ENGINES["verl"].model_issues(config))


def messages(problems) -> str:
    return "\n".join(problem.message for problem in problems)


# --- verl itself ---


def test_engine_is_chosen_by_name_only():
    config = load_config(RECIPE)
    engine, reason = choose_engine(config)
    assert (engine.name, reason) == ("verl", "as configured")
    config.engine, config.trainer.device = "auto", "cpu"
    assert choose_engine(config)[0].name == "local"


@pytest.mark.slow
def test_environment_check_passes(verl):
    process = subprocess.run(
        [sys.executable, "-m", "echorl_vl.engines.check", "verl", "--cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    assert process.stdout.startswith("verl 0.9.1\n")
    assert f"all {len(HOST.hooks)} verl classes, functions and attributes that the adapter uses exist" in process.stdout


# --- the machine and the model ---


def test_errors_about_gpus_and_memory_name_settings_of_this_engine():
    config = load_config(RECIPE)
    found = messages(gpu_issues(config, Machine((), 64 * GIB), "verl"))
    assert "engine verl needs a GPU" in found and "trainer.device=cpu starts a dry run" in found
    found = messages(memory_issues(config, Machine((16 * GIB,) * 8, 512 * GIB), SMALLER, 33 * 10**9))
    assert "Use more GPUs" in found and "lora" not in found and "adamw_bf16" not in found


def test_vision_model_is_refused():
    config = load_config(RECIPE, [f"worker.actor.model.model_path={TINY}"])
    assert "is a vision model" in messages(own_issues(config))


# --- problem sets ---


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


def settings(tmp_path: Path, rows: list[dict], **keys) -> Config:
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = copy.deepcopy(Config())
    config.data.train_files, config.data.rollout_batch_size, config.data.prompt_key = str(path), 1, "problem"
    for key, value in keys.items():
        setattr(config.data, key, value)
    return config


def test_set_is_written_with_format_prompt_and_system_message(tmp_path, tokenizer):
    around = tmp_path / "around.jinja"
    around.write_text("{{ content }} Think.")
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    config = settings(tmp_path, [{"problem": chat, "answer": "2"}], format_prompt=str(around), max_prompt_length=200)
    config.data.val_files = config.data.train_files
    changed = readable_by_verl(config, tmp_path / "run", load_sets(config, tokenizer))
    for key in ("train_files", "val_files"):
        (row,) = pq.read_table(getattr(changed.data, key)).to_pylist()
        assert [message["content"] for message in row["prompt"]] == ["Be brief.", "1 + 1? Think."]
        assert row["reward_model"]["ground_truth"] == "2" and row["data_source"] == "set.jsonl"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"problem": "<image> Which angle?", "answer": "2", "images": [{"bytes": "eA==", "path": None}]}, "set.jsonl"),
        ({"problem": "Which angle? <video>", "answer": "2"}, "<video>"),
    ],
)
def test_images_and_videos_are_refused(tmp_path, tokenizer, row, expected):
    with pytest.raises(UserError) as caught:
        load_sets(settings(tmp_path, [row]), tokenizer)
    assert expected in str(caught.value)


def test_generated_images_are_refused(tmp_path, tokenizer):
    config = settings(tmp_path, [], max_prompt_length=200)
    config.data.train_files = "generated/geometry3k@validation"
    with pytest.raises(UserError, match=r"row 0, images: has images; .* or engine = easyr1"):
        load_sets(config, tokenizer)


def test_long_prompts_are_left_out_or_stop_the_run(tmp_path, tokenizer):
    rows = [{"problem": "1 + 1?", "answer": "2"}, {"problem": "one and " * 200 + "one?", "answer": "201"}]
    config = settings(tmp_path, rows, max_prompt_length=100)
    assert [problem.answer for problem in load_sets(config, tokenizer)["train_files"]] == ["2"]
    config.data.filter_overlong_prompts = False
    with pytest.raises(UserError, match=r"row 1, problem: the prompt has \d+ tokens, but data.max_prompt_length is 1"):
        load_sets(config, tokenizer)


def test_several_files_and_bad_rows(tmp_path, tokenizer):
    rows = [{"problem": "1 + 1?", "answer": "2"}, {"problem": "1 + 1?<|im_end|>", "answer": "2"}]
    config = settings(tmp_path, rows)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"problem": "2 + 2?", "answer": "4"}))
    config.data.train_files = [config.data.train_files, str(other)]
    with pytest.raises(UserError, match=r"set\.jsonl, row 1, problem: contains <\|im_end\|>"):
        load_sets(config, tokenizer)
    config.data.bad_rows, notes = "drop", []
    changed = readable_by_verl(config, tmp_path / "run", load_sets(config, tokenizer, notes.append))
    written = pq.read_table(changed.data.train_files).to_pylist()
    assert [(row["data_source"], row["prompt"][0]["content"]) for row in written] == [
        ("set.jsonl", "1 + 1?"),
        ("other.jsonl", "2 + 2?"),
    ]
    assert len(notes) == 1 and "skipped 1 of 3 rows" in notes[0]


def test_small_sets_and_missing_chat_templates_are_refused(tmp_path, tokenizer):
    config = settings(tmp_path, [{"problem": "1 + 1?", "answer": "2"}], rollout_batch_size=2)
    with pytest.raises(UserError, match="1 problem of at most 512 tokens; expected at least one batch, which is 2"):
        load_sets(config, tokenizer)
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(UserError, match=r"no chat template.*data\.override_chat_template"):
        load_sets(config, bare)


def test_initial_checkpoint_must_be_of_this_engine(tmp_path):
    actor = tmp_path / "global_step_10" / "actor"
    actor.mkdir(parents=True)
    for name in ("model", "optim", "extra_state"):
        (actor / f"{name}_world_size_1_rank_0.pt").write_text("")
    start = [f"trainer.load_checkpoint_path={actor.parent}", f"worker.actor.model.model_path={TEXT}"]
    assert "expected a folder global_step_N of this engine" in messages(own_issues(load_config(RECIPE, start)))
    (actor.parent / "data.pt").write_text("")
    assert own_issues(load_config(RECIPE, start)) == []
    other = [f"trainer.load_checkpoint_path={actor.parent.rename(tmp_path / 'best')}", start[1]]
    assert "expected a folder global_step_N of this engine" in messages(own_issues(load_config(RECIPE, other)))
