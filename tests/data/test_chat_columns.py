"""Data sets in the formats of other projects: chats and nested columns of LUFFY and UFT, solutions of GSM8K."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from echorl_vl.data.columns import column_names, pick_columns, value_at
from echorl_vl.data.messages import Chat, read_chat
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.solutions import are_solutions, split_solution
from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError
from echorl_vl.types import Problem

SYSTEM, USER = {"role": "system", "content": "Think first."}, {"role": "user", "content": "1 + 1?"}
REPLY = {"role": "assistant", "content": "<think>\nTwo.\n</think>\nIt is \\boxed{2}."}
LUFFY_KEYS = {"prompt_key": "prompt", "answer_key": "reward_model.ground_truth"}


def luffy_row(**changes):
    """A row in the schema of LUFFY's training file (data/openr1.parquet)."""
    row = {
        "data_source": "math",
        "prompt": [SYSTEM, USER],
        "target": [REPLY],
        "ability": "math",
        "reward_model": {"ground_truth": "2", "style": "rule"},
        "extra_info": {"index": 0, "split": "train"},
    }
    return row | changes


def uft_row():
    """A row in the schema of UFT's data/math/train.parquet."""
    return {
        "prompt": [{"role": "user", "content": "User: 1 + 1?\nAssistant: <think> "}],
        "hint": ["One and one.\n", "That is \\boxed{2}."],
        "question": "User: 1 + 1?\nAssistant: <think> ",
        "answer": "One and one.\nThat is \\boxed{2}. </think>\n<answer> 2 </answer>",
        "reward_model": {"ground_truth": {"question": "1 + 1?", "target": "2"}, "style": "rule"},
    }


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def refused(spec, *words, **options) -> None:
    with pytest.raises(UserError) as error:
        load_problems(spec, **options)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_the_format_of_luffy(tmp_path, suffix):
    path = write(tmp_path / f"set{suffix}", [luffy_row(), luffy_row(prompt=[USER])])
    problems = load_problems(path, **LUFFY_KEYS, demonstration_key="target")
    assert [(p.question, p.answer, p.system) for p in problems] == [
        ("1 + 1?", "2", "Think first."),
        ("1 + 1?", "2", None),
    ]
    assert problems[0].extra["target"] == [REPLY] and problems[0].extra["data_source"] == "math"
    assert not problems.matches_file and not problems.select([1]).matches_file
    refused(path, "'answer'", "data.answer_key=reward_model.ground_truth", prompt_key="prompt")
    refused(path, "reward_model.style", prompt_key="prompt", answer_key="reward_model.ground_truht")
    refused(path, "'aim'", "data.demonstration_key=target", **LUFFY_KEYS, demonstration_key="aim")
    refused(path, "'extra_info'", "chat messages", "extra_info.index", **LUFFY_KEYS, demonstration_key="extra_info")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_the_format_of_uft(tmp_path, suffix):
    path = write(tmp_path / f"set{suffix}", [uft_row()])
    keys = {"prompt_key": "prompt", "answer_key": "reward_model.ground_truth.target", "demonstration_key": "answer"}
    (problem,) = load_problems(path, **keys)
    assert (problem.question, problem.answer) == (uft_row()["question"], "2")
    assert problem.extra["answer"] == uft_row()["answer"]
    if suffix == ".parquet":
        advice = "data.answer_key=reward_model.ground_truth.question or reward_model.ground_truth.target"
        refused(path, "struct<", advice, prompt_key="prompt", answer_key="reward_model.ground_truth")


def test_nested_columns_of_mixed_types_in_json(tmp_path):
    rows = [luffy_row(extra_info=info, reward_model={"ground_truth": value}) for value, info in ((2, 1), ("x", "a"))]
    problems = load_problems(write(tmp_path / "set.jsonl", rows), **LUFFY_KEYS)
    assert [problem.answer for problem in problems] == ["2", "x"]
    # Demonstrations do not become JSON text, unlike other columns of mixed types.
    rows = [luffy_row(target="text"), luffy_row()]
    path = write(tmp_path / "set.jsonl", rows)
    assert load_problems(path, **LUFFY_KEYS)[0].extra["target"] == '"text"'
    found = load_problems(path, **LUFFY_KEYS, demonstration_key="target")
    assert [problem.extra["target"] for problem in found] == ["text", REPLY["content"]]
    rows = [luffy_row(), luffy_row(reward_model={"ground_truth": [1]})]
    refused(write(tmp_path / "set.jsonl", rows), "row 1, reward_model.ground_truth", "got list", **LUFFY_KEYS)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_conversations_with_other_roles_are_bad_rows(tmp_path, suffix):
    chats = [[USER], [USER, REPLY, USER], [SYSTEM], [USER, SYSTEM], [USER, USER], [], None]
    chats += [[{"role": "user", "content": " "}], [USER, REPLY], [SYSTEM, USER, REPLY]]
    path = write(tmp_path / f"set{suffix}", [luffy_row(prompt=chat) for chat in chats])
    with pytest.raises(UserError) as error:
        load_problems(path, **LUFFY_KEYS)
    message = str(error.value)
    assert "7 of 10 rows" in message
    for row, words in {
        1: "roles user, assistant, user; expected one user message",
        2: "roles system;",
        3: "roles user, system;",
        4: "roles user, user;",
        5: "roles none;",
        6: "is empty or missing",
        7: "is empty or missing",
    }.items():
        assert f"{path}, row {row}, prompt: " in message and words in message
    assert not any(f"row {row}," in message for row in (0, 8, 9))


def test_one_chat_has_question_and_demonstration():
    assert read_chat([SYSTEM, USER, REPLY]) == Chat("1 + 1?", "Think first.", REPLY["content"])
    assert read_chat([{"role": "system", "content": " "}, USER]).system is None


def test_placeholders_of_chats_are_counted(tmp_path, png):
    def row(question):
        image = {"bytes": png(), "path": None}
        return {"problem": [{"role": "user", "content": question}], "answer": "1", "images": [image]}

    assert load_problems(write(tmp_path / "a.parquet", [row("<image>x?")]))[0].question == "<image>x?"
    refused(write(tmp_path / "b.parquet", [row("x?")]), "row 0, problem", "has no <image>, but 'images' has 1 image")


def test_the_system_message_reaches_the_chat_template(processor):
    encoder = PromptEncoder(processor, processor.tokenizer)
    bare = Problem("a:0", "1 + 1?", "2")
    with_system = Problem("a:0", "1 + 1?", "2", system="Think first.")
    user = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    assert encoder.encode(bare).text == user
    # The cache tells rows with different system messages apart.
    assert encoder.encode(with_system).text == f"<|im_start|>system\nThink first.<|im_end|>\n{user}"
    text_only = PromptEncoder(None, processor.tokenizer)
    assert text_only.render(with_system) == encoder.render(with_system)
    text_only._chat_template = None
    assert text_only.render(with_system) == "Think first.\n\n1 + 1?\n" and text_only.render(bare) == "1 + 1?\n"


def test_dotted_keys_lead_into_nested_columns():
    rows = [{"a": {"b": {"c": 1}, "d": "x"}, "a.d": "flat"}, {"a": None, "a.d": None}]
    table = pa.Table.from_pylist(rows)
    assert column_names(table.schema) == ["a", "a.d", "a.b", "a.b.c", "a.d"]
    keys = ["a.b.c", "a.d", "a.b.x", "b", "a.d.e"]
    picked = pick_columns(table, keys)
    assert picked.to_pydict() == {"a.b.c": [1, None], "a.d": ["flat", None]}
    for index, row in enumerate(rows):
        assert [value_at(row, key) for key in keys] == [picked.to_pylist()[index].get(key) for key in keys]


def test_answers_of_gsm8k_follow_the_signs(tmp_path):
    solutions = ["48/2 = <<48/2=24>>24\n#### 24", "so\n#### 1,080 \n", "####-3", "a #### 1\n#### $5"]
    rows = [{"question": "?", "answer": solution} for solution in solutions]
    problems = load_problems(write(tmp_path / "a.jsonl", rows), prompt_key="question", demonstration_key="answer")
    assert [problem.answer for problem in problems] == ["24", "1,080", "-3", "$5"]
    assert [problem.extra for problem in problems] == [{"answer": solution} for solution in solutions]
    # If one row has another format, answers are unchanged.
    rows.append({"question": "?", "answer": "#### 5\nend"})
    problems = load_problems(write(tmp_path / "b.jsonl", rows), prompt_key="question")
    assert [problem.answer for problem in problems] == [row["answer"] for row in rows] and problems.matches_file


@pytest.mark.parametrize("text", ["", "5", "#### ", "####\n5", "a #### 5", "#### 5\nmore", "\n\n"])
def test_other_texts_are_not_solutions(text):
    assert split_solution(text) is None
    assert not are_solutions(pa.chunked_array([[text]]))
    assert not are_solutions(pa.chunked_array([["#### 1"], [text]]))
    assert are_solutions(pa.chunked_array([["#### 1"], [None, "x\n#### 2\n"]]))
    assert not are_solutions(pa.chunked_array([[None]], pa.string()))


def test_the_files_of_gsm8k_load(shared_data):
    sizes = {"math_train/gsm8k_train.jsonl": 7473, "math_eval/gsm8k.jsonl": 1319}
    for name, size in sizes.items():
        problems = load_problems(str(shared_data / name), prompt_key="question")
        assert len(problems) == size
        assert all(set(problem.answer) <= set("-0123456789,.") for problem in problems[:300])
    assert problems[0].answer == "18"
