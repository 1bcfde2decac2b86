"""The loaders on small files in the layout of the official ones."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from made_up_benchmarks import (
    MATHVISION,
    hallusion_row,
    image_cell,
    mathverse_row,
    mathvision,
    of_size,
    png,
    wemath_row,
    write_jsonl,
    write_parquet,
)

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import benchmarks, get
from echorl_vl.evaluation.benchmarks.base import from_record
from echorl_vl.evaluation.benchmarks.sources import load

MATHVISTA = [
    {
        "pid": "1",
        "question": "What is the total volume?",
        "image": "images/1.jpg",
        "decoded_image": image_cell(),
        "choices": None,
        "unit": "g",
        "precision": None,
        "answer": "1000",
        "question_type": "free_form",
        "answer_type": "integer",
        "metadata": {"task": "figure question answering", "grade": "daily life"},
    },
    {
        "pid": "2",
        "question": "Is the sum of the two bars more than 1?",
        "image": "images/2.jpg",
        "decoded_image": image_cell("blue"),
        "choices": ["Yes", "No"],
        "unit": None,
        "precision": None,
        "answer": "No",
        "question_type": "multi_choice",
        "answer_type": "text",
        "metadata": {"task": "geometry problem solving", "grade": "high school"},
    },
    {
        "pid": "3",
        "question": "By what distance is the spring compressed?",
        "image": "images/3.jpg",
        "decoded_image": image_cell("green"),
        "choices": None,
        "unit": None,
        "precision": 2.0,
        "answer": "1.23",
        "question_type": "free_form",
        "answer_type": "float",
        "metadata": {"task": "textbook question answering", "grade": "college"},
    },
]


def test_mathvista(tmp_path):
    file = write_parquet(
        tmp_path / "MathVista" / "data" / "testmini-00000-of-00001-725687bf7a18d64b.parquet", MATHVISTA
    )
    integer, choice, number = load(of_size("mathvista", 3), tmp_path)
    assert integer.text == "<image>\nWhat is the total volume? (unit: g)\nThe answer is an integer."
    assert (integer.answer, integer.kind, integer.subject, integer.level) == (
        "1000",
        "free_form",
        "figure question answering",
        "daily life",
    )
    assert (choice.answer, choice.kind, choice.choices) == ("B", "choice", ("Yes", "No"))
    assert "(A) Yes\n(B) No\n" in choice.text and choice.images == (png("blue"),)
    assert number.text.endswith("Round the answer to 2 decimal places.") and number.answer == "1.23"
    assert load(of_size("mathvista", 3), file).source == str(file)


def test_mathvista_rejects_an_answer_that_is_not_a_choice(tmp_path):
    rows = [{**MATHVISTA[1], "answer": "Maybe"}]
    file = write_parquet(tmp_path / "x.parquet", rows)
    message = r"x\.parquet, row 0, answer: expected one of the choices \['Yes', 'No'\], got 'Maybe'"
    with pytest.raises(UserError, match=message):
        load(of_size("mathvista", 1), file)


def test_mathverse(tmp_path):
    rows = [
        mathverse_row(1, "Text Dominant", "multi-choice", "Find x.\nChoices:\nA:30\nB:45\nC:60", "C"),
        mathverse_row(2, "Vision Only", "multi-choice", "", "C"),
        mathverse_row(3, "Vision Only", "free-form", "", "10 cm"),
    ]
    write_parquet(tmp_path / "MathVerse" / "testmini.parquet", rows)
    text, image, free = load(of_size("mathverse", 3), tmp_path)
    assert text.text.startswith("<image>\nFind x.\nChoices:\nA:30") and text.choices == ("30", "45", "60")
    assert image.text.startswith("<image>\nThe question is in the picture.") and image.choices == ("30", "45", "60")
    assert (text.answer, free.answer, free.kind) == ("C", "10 cm", "free_form")
    assert text.groups == {"version": "Text Dominant"} and text.subject == "Plane Geometry"


def test_questions_of_one_problem_or_set_form_a_cluster(tmp_path):
    verse = [mathverse_row(index, "Vision Only", "free-form", "", "1") for index in range(3)]
    verse[2]["problem_index"] = "2"
    math = [wemath_row(problem, key) for problem in "12" for key in ("2steps_1", "2steps_multi")]
    sets = [hallusion_row(figure, question, "1") for figure in "01" for question in "01"]
    sets[3]["set_id"] = "1"
    for name, rows, sizes in (("mathverse", verse, [2, 1]), ("wemath", math, [2, 2]), ("hallusionbench", sets, [3, 1])):
        file = write_parquet(tmp_path / f"{name}.parquet", rows)
        questions = list(load(of_size(name, len(rows)), file))
        assert [*Counter(question.cluster for question in questions).values()] == sizes and questions[0].cluster
        assert from_record(questions[0].record()).cluster == questions[0].cluster


def test_the_record_of_a_question_without_a_cluster_has_no_such_key(tmp_path):
    file = mathvision(tmp_path, MATHVISION)
    question = load(of_size("mathvision", 1), file)[0]
    record = question.record()
    assert "cluster" not in record and from_record(record).cluster == record["images"][0]
    assert from_record({**record, "images": []}).cluster == ""


def test_wemath(tmp_path):
    rows = [wemath_row("2steps_1", key) for key in ("2steps_1", "2steps_2", "2steps_multi")]
    write_parquet(tmp_path / "We-Math" / "data" / "testmini-00000-of-00001.parquet", rows)
    first, second, whole = load(of_size("wemath", 3), tmp_path)
    assert first.choices == ("15π cm", "10π cm; it is a circle", "5π", "No correct answer")
    assert (first.level, second.level, whole.level) == ("one step", "one step", "2 steps")
    assert len({first.uid, second.uid, whole.uid}) == 3 and first.groups["problem"] == whole.groups["problem"]


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("A. 45° B. 60° ;C. 120°; D. No", ("45°", "60°", "120°", "No")),
        ("A. B; B. C; C. D; D. E", ("B", "C", "D", "E")),
        ("A. There is an angle AB;C.; B. None", ("There is an angle AB;C.", "None")),
        ("A. ①; ③;B. ②; ③", ("①; ③", "②; ③")),
    ],
)
def test_wemath_options_are_split_at_the_letters(tmp_path, option, choices):
    file = write_parquet(tmp_path / "x.parquet", [{**wemath_row("1", "2steps_1"), "option": option}])
    assert load(of_size("wemath", 1), file)[0].choices == choices


def test_hallusionbench(tmp_path):
    rows = [hallusion_row("0", "0", "1"), hallusion_row("1", "0", "0")]
    write_parquet(tmp_path / "HallusionBench" / "data" / "image-00000-of-00001.parquet", rows)
    yes, no = load(of_size("hallusionbench", 2), tmp_path)
    assert (yes.answer, no.answer, yes.kind) == ("yes", "no", "yes_no")
    assert yes.subject == "VD/illusion" and yes.uid == "VD_illusion_0_0_0"


def test_gpqa_diamond_choices_are_shuffled_by_the_seed(tmp_path):
    lines = [
        "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3,High-level domain,Record ID"
    ]
    lines += [f"Q{index}?,right {index},w1 {index},w2 {index},w3 {index},Physics,rec{index}" for index in range(40)]
    (tmp_path / "gpqa_diamond.csv").write_text("\n".join(lines))
    benchmark = of_size("gpqa_diamond", 40)
    by_seed = [list(load(benchmark, tmp_path, seed=seed)) for seed in (0, 0, 1)]
    for questions in by_seed:
        for index, question in enumerate(questions):
            assert question.choices["ABCD".index(question.answer)] == f"right {index}"
            assert f"({question.answer}) right {index}" in question.text
        assert {question.answer for question in questions} == set("ABCD")
    assert by_seed[0] == by_seed[1] != by_seed[2]


def test_choices_that_refer_to_others_keep_their_order(tmp_path):
    row = {"question_id": 1, "question": "?", "answer": "D", "answer_index": 3, "category": "law", "src": "x"}
    for last in ("All of the above", "Both A and B", "B and C", "None of these", "As stated above", "Option A"):
        options = ["first", "second", "third", last]
        file = write_jsonl(tmp_path / "mmlu_pro.jsonl", [{**row, "options": options}])
        for seed in range(5):
            question = load(of_size("mmlu_pro", 1), file, seed=seed)[0]
            assert list(question.choices) == options and question.answer == "D"


@pytest.mark.parametrize("last", ["The price falls below average cost.", "It went above and beyond."])
def test_choices_with_similar_words_are_shuffled(tmp_path, last):
    row = {"question_id": 1, "question": "?", "answer": "D", "answer_index": 3, "category": "law", "src": "x"}
    file = write_jsonl(tmp_path / "mmlu_pro.jsonl", [{**row, "options": ["first", "second", "third", last]}])
    assert len({load(of_size("mmlu_pro", 1), file, seed=seed)[0].answer for seed in range(20)}) > 1


def test_arc_challenge_in_the_format_of_the_hub(tmp_path):
    rows = [
        {"id": "a", "question": "Q?", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answerKey": "2"},
        {"id": "b", "question": "Q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "A"},
    ]
    write_parquet(tmp_path / "ARC-Challenge" / "test-00000-of-00001.parquet", rows)
    first, second = load(of_size("arc_challenge", 2), tmp_path)
    assert first.choices["ABC".index(first.answer)] == "y" and second.choices["AB".index(second.answer)] == "x"


def test_mathvision_image_markers(tmp_path):
    rows = [MATHVISION, {**MATHVISION, "id": "5", "question": "<image1> and <image2>?", "options": list("ABCDE")}]
    rows[1]["answer"] = "E"
    one, several = load(of_size("mathvision", 2), mathvision(tmp_path, *rows))
    assert one.text == "How many digits are in <image>?" and one.level == "1"
    assert several.text.startswith(
        "<image>\n[picture 1] and [picture 2]?\nThe choices A, B, C, D, E are in the picture."
    )


def test_a_column_of_numbers_and_text_is_read_as_text(tmp_path):
    write_jsonl(tmp_path / "amc23.jsonl", [{"problem": "Q?", "answer": 27.0}, {"problem": "R?", "answer": "36.0"}])
    assert [question.answer for question in load(of_size("amc23", 2), tmp_path)] == ["27", "36.0"]


def test_the_example_in_the_documentation_works(tmp_path):
    document = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
    examples = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    [example] = [one for one in examples if "BENCHMARKS" in one]
    scope: dict[str, object] = {}
    exec(example, scope)
    [benchmark] = scope["BENCHMARKS"]
    write_jsonl(tmp_path / "mine.jsonl", [{"id": index, "problem": "Q?", "answer": index} for index in range(120)])
    questions = load(benchmark, tmp_path)
    assert len(questions) == 120 and questions[7].answer == "7"


def test_every_module_of_the_folder_is_registered():
    folder = Path(get.__code__.co_filename).parent
    helpers = {"__init__", "base", "choices", "own", "registry", "rows", "sources"}
    modules = {path.stem for path in folder.glob("*.py")} - helpers
    assert {benchmark.read.__module__.rpartition(".")[2] for benchmark in benchmarks().values()} == modules
    with pytest.raises(UserError, match="--bench mathvison: no such benchmark; did you mean mathvision"):
        get("mathvison")


def test_minerva_questions_with_one_preamble_form_a_cluster(tmp_path):
    problems = ["Preamble: A prism.\n\nFind A.", "Preamble: A prism.\n\nFind B.", "Find C.\nNow.", "Find C.\nNow."]
    problems += ["Subproblem 0: Find D.", "Subproblem 0: Find D.\n\nSolution: 5\n\nSubproblem 1: Find E."]
    rows = [{"problem": text, "solution": "\\boxed{5}"} for text in problems]
    file = write_jsonl(tmp_path / "minerva.jsonl", rows)
    clusters = [question.cluster for question in load(of_size("minerva", 6), file)]
    assert clusters == [*["Preamble: A prism."] * 2, "", "", *["Subproblem 0: Find D."] * 2]
