"""Problem sets that EasyR1 can't read are rewritten, with the same questions, answers and images."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from PIL import Image

from echorl_vl.config import Config
from echorl_vl.data.from_config import make_encoder
from echorl_vl.data.sources import load_problems
from echorl_vl.engines.easyr1.datasets import (
    load_sets,
    prepare_sets,
    readable_by_easyr1,
    screen_sets,
    select_demonstrated,
    wants_demonstrations,
    with_problem_columns,
)
from echorl_vl.engines.ray.batches import QUESTION, UID
from echorl_vl.engines.ray.datasets import load_tokenizer
from echorl_vl.errors import UserError

MODEL = Path(__file__).resolve().parents[2] / "echorl_vl/tiny/model"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def written(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def settings(train: str | list[str], val: str, **keys: str) -> Config:
    config = copy.deepcopy(Config())
    config.data.train_files, config.data.val_files, config.data.rollout_batch_size = train, val, 1
    for key, value in keys.items():
        setattr(config.data, key, value)
    return config


def rows_of(path: str, source: str | None = None) -> list[dict]:
    """The rows of a written set without their uids, which must be "SOURCE:ROW" if a source is given."""
    rows = pq.read_table(path).to_pylist()
    uids = [row.pop(UID) for row in rows]
    assert source is None or uids == [f"{source}:{number}" for number in range(len(rows))]
    return rows


def encoder(config: Config):
    return make_encoder(config, *load_tokenizer(config))


def test_chats_and_nested_columns_are_written_as_text(tmp_path):
    rows = [
        {"prompt": [{"role": "user", "content": f"{n} + 1?"}], "reward_model": {"ground_truth": n + 1}}
        for n in range(9)
    ]
    train, val = written(tmp_path / "train.jsonl", rows), written(tmp_path / "val.jsonl", rows[:2])
    config = settings(train, val, answer_key="reward_model.ground_truth")
    changed = readable_by_easyr1(config, tmp_path / "run", load_sets(config)).data
    assert (changed.prompt_key, changed.answer_key) == ("problem", "answer")
    assert rows_of(changed.train_files, train) == [{"problem": f"{n} + 1?", "answer": str(n + 1)} for n in range(9)]
    assert pq.read_table(changed.val_files).num_rows == 2
    assert (config.data.train_files, config.data.answer_key) == (train, "reward_model.ground_truth")


def test_nested_answers_and_gsm8k_solutions_are_written(tmp_path):
    path = written(tmp_path / "a.jsonl", [{"prompt": "?", "more": {"answer": "1"}}])
    config = settings(path, path, answer_key="more.answer")
    changed = readable_by_easyr1(config, tmp_path / "run", load_sets(config)).data
    assert rows_of(changed.train_files) == [{"problem": "?", "answer": "1"}]
    path = written(tmp_path / "b.jsonl", [{"prompt": "?", "answer": "so\n#### 1"}])
    config = settings(path, path)
    changed = readable_by_easyr1(config, tmp_path / "run", load_sets(config)).data
    assert rows_of(changed.train_files) == [{"prompt": "?", "answer": "1"}]


def test_only_unreadable_sets_are_written_with_their_images(tmp_path):
    (tmp_path / "a.png").write_bytes(b"image")
    chat = {"prompt": [{"role": "user", "content": "<image>?"}], "answer": "1", "images": ["a.png"]}
    plain = {"prompt": "?", "answer": "1"}
    train, val = written(tmp_path / "train.jsonl", [chat]), written(tmp_path / "val.jsonl", [plain])
    config = settings(train, val)
    sets = load_sets(config)
    assert not sets["train_files"].matches_file and sets["val_files"].matches_file
    changed = readable_by_easyr1(config, tmp_path / "run", sets).data
    assert changed.val_files == val and (changed.prompt_key, changed.image_key) == ("prompt", "images")
    (problem,) = load_problems(changed.train_files, "prompt")
    assert (problem.question, problem.answer, problem.images) == ("<image>?", "1", (b"image",))


def test_contents_that_easyr1_can_not_use_are_refused(tmp_path):
    chat = [{"role": "system", "content": "Think."}, {"role": "user", "content": "?"}]
    path = written(tmp_path / "chat.jsonl", [{"prompt": chat, "answer": "1"}])
    with pytest.raises(UserError, match=r"row 0, prompt: has a system message, which EasyR1 does .* engine=local"):
        load_sets(settings(path, path))
    row = {"prompt": [{"role": "user", "content": "<video>?"}], "answer": "1", "videos": ["a.mp4"]}
    path = written(tmp_path / "video.jsonl", [row])
    with pytest.raises(UserError, match="row 0, videos: has videos"):
        load_sets(settings(path, path))


def test_several_files_and_other_formats_are_written(tmp_path):
    rows = [{"prompt": f"{n}?", "answer": str(n)} for n in range(3)]
    first, second = written(tmp_path / "a.jsonl", rows[:2]), written(tmp_path / "b.jsonl", rows[2:])
    (tmp_path / "c.csv").write_text("prompt,answer\n007?,007\n")
    config = settings([first, second], str(tmp_path / "c.csv"))
    changed = readable_by_easyr1(config, tmp_path / "run", load_sets(config)).data
    assert [row[UID] for row in pq.read_table(changed.train_files).to_pylist()] == [
        f"{first}:0", f"{first}:1", f"{second}:0"
    ]  # fmt: skip
    assert rows_of(changed.train_files) == rows
    assert rows_of(changed.val_files) == [{"prompt": "007?", "answer": "007"}]
    dates = written(
        tmp_path / "dates.jsonl", [{"prompt": "?", "answer": "2020-01-01"}]
    )  # other readers would parse a date
    config = settings(dates, dates)
    changed = readable_by_easyr1(config, tmp_path / "dates", load_sets(config)).data
    assert rows_of(changed.train_files) == [{"prompt": "?", "answer": "2020-01-01"}]


def test_prompts_and_images_are_checked_before_easyr1_starts(tmp_path):
    """EasyR1 itself would accept a control token, and a damaged image would end the run at its batch."""
    Image.new("RGB", (64, 64)).save(tmp_path / "good.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    rows = [
        {"prompt": "<image>?", "answer": "1", "images": ["good.png"]},
        {"prompt": "<image>?<|im_end|>", "answer": "1", "images": ["good.png"]},
        {"prompt": "<image>?", "answer": "1", "images": ["torn.png"]},
    ]
    path = written(tmp_path / "train.jsonl", rows)
    config = settings(path, path, format_prompt=None)
    config.worker.actor.model.model_path = str(MODEL)
    with pytest.raises(UserError) as error:
        screen_sets(config, load_sets(config), encoder(config), print)
    assert "2 of 3 rows" in str(error.value)
    assert f"{path}, row 1, prompt: contains <|im_end|>" in str(error.value)
    assert f"{path}, row 2, images[0]: " in str(error.value)
    config.data.bad_rows, notes = "drop", []
    sets = screen_sets(config, load_sets(config), encoder(config), notes.append)
    assert len(notes) == 2 and all("skipped 2 of 3 rows" in note for note in notes)
    changed = readable_by_easyr1(config, tmp_path / "run", sets).data
    assert [row["prompt"] for row in pq.read_table(changed.train_files).to_pylist()] == ["<image>?"]
    config.data.format_prompt = str(tmp_path / "bomb.jinja")
    (tmp_path / "bomb.jinja").write_text("{{ 'a' * (10 ** 11) }}{{ content }}")
    with pytest.raises(UserError, match=r"bomb\.jinja \(data\.format_prompt\): .* memory"):
        screen_sets(config, load_sets(config), encoder(config), print)


@pytest.mark.parametrize("filtered", [True, False])
def test_long_prompts_are_left_to_easyr1(tmp_path, filtered):
    """EasyR1 filters or truncates them."""
    rows = [{"prompt": "?" * length, "answer": "1"} for length in (1, 900)]
    path = written(tmp_path / "train.jsonl", rows)
    config = settings(path, path, format_prompt=None, max_prompt_length=64, filter_overlong_prompts=filtered)
    config.data.image_key, config.worker.actor.model.model_path, notes = "", str(MODEL), []
    config = prepare_sets(config, notes.append)(tmp_path / "run")
    assert config.data.train_files == path and not notes


def test_training_set_with_demonstrations_is_written_with_their_token_ids(tmp_path):
    from transformers import AutoTokenizer

    solutions = [r"So \boxed{1}.", "no box", r"It is \boxed{3}."]
    rows = [{"prompt": f"{n}?", "answer": str(n), "solution": text} for n, text in enumerate(solutions)]
    train = written(tmp_path / "train.jsonl", rows)
    config = settings(train, train, demonstration_key="solution", prompt_key="prompt", format_prompt=None)
    config.algorithm.name, config.worker.actor.model.model_path = "luffy", str(MODEL)
    sets, notes = load_sets(config), []
    sets["train_files"], own = select_demonstrated(config, sets["train_files"], encoder(config), notes.append)
    assert "2 usable demonstrations, 1 not (1 without a boxed answer)" in notes[0]
    changed = readable_by_easyr1(config, tmp_path / "run", sets, own).data
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert rows_of(changed.train_files) == [
        {"prompt": f"{n}?", "answer": str(n), "demonstration": [*tokenizer(solutions[n])["input_ids"], end]}
        for n in (0, 2)
    ]
    assert changed.val_files == train
    config.data.bad_traces = "error"
    with pytest.raises(UserError, match="row 1, solution: has no"):
        select_demonstrated(config, load_sets(config)["train_files"], encoder(config), print)
    config.trainer.val_only = True
    assert not wants_demonstrations(config)


def test_generated_sets_are_written_with_their_images(tmp_path):
    config = settings("generated/geometry3k@validation", "generated/geometry3k@validation", prompt_key="problem")
    changed = readable_by_easyr1(config, tmp_path / "run", load_sets(config)).data
    given, found = load_problems("generated/geometry3k@validation"), load_problems(changed.train_files)
    assert len(given) == len(found) > 0
    for one, other in zip(given[:3], found[:3], strict=True):
        assert (one.question, one.answer) == (other.question, other.answer)
        assert other.images == one.images


def test_rows_keep_their_question_and_uid(tmp_path):
    """Sets that EasyR1 reads get both when loaded; rewritten sets keep the uids of the original files."""
    rows = [{"prompt": f"{n}?", "answer": str(n)} for n in range(3)]
    plain = written(tmp_path / "plain.jsonl", rows)
    load = with_problem_columns(datasets.load_dataset, "prompt")
    found = load("json", data_files=plain, split="train").filter(lambda row: row["answer"] != "1")
    assert [(row[UID], row[QUESTION], row["prompt"]) for row in found] == [
        (f"{plain}:0", "0?", "0?"), (f"{plain}:2", "2?", "2?")
    ]  # fmt: skip
    other = written(tmp_path / "other.jsonl", rows[:1])
    config = settings([plain, other], plain)
    changed = readable_by_easyr1(config, tmp_path / "run", load_sets(config)).data
    found = load("parquet", data_files=changed.train_files, split="train")
    assert [row[UID] for row in found] == [*(f"{plain}:{n}" for n in range(3)), f"{other}:0"]
    assert [row[QUESTION] for row in found] == ["0?", "1?", "2?", "0?"]
