"""Loaders against small files in the layout of the official ones, and every error that such a file can hold."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from made_up_benchmarks import image_cell, of_size, png, write_jsonl, write_parquet

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


def mathverse_row(index: int, version: str, kind: str, question: str, answer: str) -> dict:
    return {
        "sample_index": str(index),
        "problem_index": "1",
        "problem_version": version,
        "question": question,
        "image": image_cell(),
        "answer": answer,
        "question_type": kind,
        "metadata": {"split": "testmini", "source": "Geometry3K", "subject": "Plane Geometry", "subfield": "Angle"},
        "query_wo": "",
        "query_cot": "",
        "question_for_eval": "Find x.\nChoices:\nA:30\nB:45\nC:60" if kind == "multi-choice" else "Find x.",
    }


def wemath_row(problem: str, key: str, answer: str = "B") -> dict:
    return {
        "ID": problem,
        "split": "testmini",
        "knowledge concept": "Circumference of Circles",
        "question": "The circumference of the circle is:",
        "option": "A. 15π cm;B. 10π cm; it is a circle;C．5π; D. No correct answer",
        "answer": answer,
        "image_path": image_cell(),
        "key": key,
        "question number": 1,
        "knowledge concept description": "...",
    }


def hallusion_row(figure: str, question: str, truth: str) -> dict:
    return {
        "category": "VD",
        "subcategory": "illusion",
        "visual_input": "1",
        "set_id": "0",
        "figure_id": figure,
        "sample_note": "circle",
        "question_id": question,
        "question": "Is the right circle larger than the left one?",
        "gt_answer_details": "The circles are the same size.",
        "gt_answer": truth,
        "filename": "./hallusion_bench/VD/illusion/0_0.png",
        "image": image_cell(),
    }


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


def test_mathvista_an_answer_that_is_no_choice(tmp_path):
    rows = [{**MATHVISTA[1], "answer": "Maybe"}]
    file = write_parquet(tmp_path / "x.parquet", rows)
    with pytest.raises(UserError, match=r"x\.parquet, row 0, answer: 'Maybe' is none of the choices \['Yes', 'No'\]"):
        load(of_size("mathvista", 1), file)


def test_mathverse(tmp_path):
    rows = [
        mathverse_row(1, "Text Dominant", "multi-choice", "Find x.\nChoices:\nA:30\nB:45\nC:60", "C"),
        mathverse_row(2, "Vision Only", "multi-choice", "", "C"),
        mathverse_row(3, "Vision Only", "free-form", "", "10 cm"),
    ]
    write_parquet(tmp_path / "MathVerse" / "testmini.parquet", rows)
    text, picture, free = load(of_size("mathverse", 3), tmp_path)
    assert text.text.startswith("<image>\nFind x.\nChoices:\nA:30") and text.choices == ("30", "45", "60")
    assert picture.text.startswith("<image>\nThe question is in the picture.") and picture.choices == ("30", "45", "60")
    assert (text.answer, free.answer, free.kind) == ("C", "10 cm", "free_form")
    assert text.groups == {"version": "Text Dominant"} and text.subject == "Plane Geometry"


def test_questions_of_one_problem_or_set_are_a_cluster(tmp_path):
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


@pytest.mark.parametrize(
    ("name", "row", "column"),
    [
        ("mathverse", mathverse_row(1, "Vision Only", "free-form", "", "1"), "problem_index"),
        ("wemath", wemath_row("1", "2steps_1"), "ID"),
        ("hallusionbench", hallusion_row("0", "0", "1"), "set_id"),
    ],
)
def test_a_row_that_does_not_say_its_set_is_named(tmp_path, name, row, column):
    file = write_parquet(tmp_path / "x.parquet", [row, {**row, column: None}])
    with pytest.raises(UserError, match=rf"x\.parquet, row 1, {column}: expected the set that .* got nothing"):
        load(of_size(name, 2), file)


def test_a_question_without_a_cluster_has_the_record_that_it_had_before(tmp_path):
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
def test_wemath_options_as_the_file_has_them(tmp_path, option, choices):
    file = write_parquet(tmp_path / "x.parquet", [{**wemath_row("1", "2steps_1"), "option": option}])
    assert load(of_size("wemath", 1), file)[0].choices == choices


def test_hallusionbench(tmp_path):
    rows = [hallusion_row("0", "0", "1"), hallusion_row("1", "0", "0")]
    write_parquet(tmp_path / "HallusionBench" / "data" / "image-00000-of-00001.parquet", rows)
    yes, no = load(of_size("hallusionbench", 2), tmp_path)
    assert (yes.answer, no.answer, yes.kind) == ("yes", "no", "yes_no")
    assert yes.subject == "VD/illusion" and yes.uid == "VD_illusion_0_0_0"


def test_gpqa_diamond_the_order_of_the_choices_is_the_seeds(tmp_path):
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


def test_choices_that_speak_of_others_keep_their_order(tmp_path):
    row = {"question_id": 1, "question": "?", "answer": "D", "answer_index": 3, "category": "law", "src": "x"}
    for last in ("All of the above", "Both A and B", "B and C", "None of these", "As stated above", "Option A"):
        options = ["first", "second", "third", last]
        file = write_jsonl(tmp_path / "mmlu_pro.jsonl", [{**row, "options": options}])
        for seed in range(5):
            question = load(of_size("mmlu_pro", 1), file, seed=seed)[0]
            assert list(question.choices) == options and question.answer == "D"


@pytest.mark.parametrize("last", ["The price falls below average cost.", "It went above and beyond."])
def test_choices_that_speak_of_other_things_are_shuffled(tmp_path, last):
    row = {"question_id": 1, "question": "?", "answer": "D", "answer_index": 3, "category": "law", "src": "x"}
    file = write_jsonl(tmp_path / "mmlu_pro.jsonl", [{**row, "options": ["first", "second", "third", last]}])
    assert len({load(of_size("mmlu_pro", 1), file, seed=seed)[0].answer for seed in range(20)}) > 1


def test_arc_challenge_as_the_hub_has_it(tmp_path):
    rows = [
        {"id": "a", "question": "Q?", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answerKey": "2"},
        {"id": "b", "question": "Q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "A"},
    ]
    write_parquet(tmp_path / "ARC-Challenge" / "test-00000-of-00001.parquet", rows)
    first, second = load(of_size("arc_challenge", 2), tmp_path)
    assert first.choices["ABC".index(first.answer)] == "y" and second.choices["AB".index(second.answer)] == "x"


MATHVISION = {
    "id": "4",
    "question": "How many digits are in <image1>?",
    "options": [],
    "answer": "6",
    "solution": None,
    "level": 1,
    "subject": "counting",
    "image": "images/4.png",
}


def mathvision(folder: Path, *rows: dict) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "4.png").write_bytes(png())
    return write_jsonl(folder / "testmini.jsonl", list(rows))


def test_mathvision_markers(tmp_path):
    rows = [MATHVISION, {**MATHVISION, "id": "5", "question": "<image1> and <image2>?", "options": list("ABCDE")}]
    rows[1]["answer"] = "E"
    one, several = load(of_size("mathvision", 2), mathvision(tmp_path, *rows))
    assert one.text == "How many digits are in <image>?" and one.level == "1"
    assert several.text.startswith(
        "<image>\n[picture 1] and [picture 2]?\nThe choices A, B, C, D, E are in the picture."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "images/7.png"}, r"testmini\.jsonl, row 1, .*: picture file .*images/7\.png does not exist"),
        ({"image": None}, r"testmini\.jsonl, row 1, .*: the picture is missing"),
        ({"answer": " "}, r"testmini\.jsonl, row 1, answer: a question without an answer"),
        ({"answer": None}, r"testmini\.jsonl, row 1, answer: a question without an answer"),
        ({"question": ""}, r"testmini\.jsonl, row 1, question: expected text, got nothing"),
        ({"options": ["1", "2"], "answer": "C"}, r"row 1, answer: expected a letter of 2 choices, got 'C'"),
        ({"id": "4"}, r"row 1: a second question with the id '4'"),
    ],
)
def test_a_row_that_can_not_be_used_is_named(tmp_path, change, message):
    file = mathvision(tmp_path, MATHVISION, {**MATHVISION, "id": "5", **change})
    with pytest.raises(UserError, match=message):
        load(of_size("mathvision", 2), file)


def test_n_has_to_be_the_benchmarks(tmp_path):
    file = mathvision(tmp_path, MATHVISION)
    with pytest.raises(UserError, match=r"testmini\.jsonl: 1 questions, and mathvision has 304 \(MathLLMs"):
        load(get("mathvision"), file)


def test_a_part_of_a_file_is_refused_and_taken_with_a_limit(tmp_path):
    file = mathvision(tmp_path, *({**MATHVISION, "id": str(index)} for index in range(5)))
    with pytest.raises(UserError, match=r"5 questions, and mathvision has 304 .*--limit N takes it, marked PARTIAL"):
        load(get("mathvision"), file)
    for limit in (2, 5, 400):
        questions = load(get("mathvision"), file, limit=limit)
        assert (len(questions), questions.total) == (min(limit, 5), 304)
    with pytest.raises(UserError, match=r"5 questions, and mathvision has 4 \([^;]*$"):  # more than a part can have
        load(of_size("mathvision", 4), file, limit=2)


def test_a_part_is_one_of_the_edition_that_its_columns_tell(tmp_path):
    row = {"images": [image_cell()], "problem": "<image>Find x.", "answer": "5"}
    plain = load(get("geometry3k"), write_parquet(tmp_path / "a" / "test.parquet", [row] * 560), limit=3)
    assert (len(plain), plain.total) == (3, 601)
    annotated = [{**row, "id": index, "literals": ["x"], "theorems": ["y"]} for index in range(4)]
    found = load(get("geometry3k"), write_parquet(tmp_path / "b" / "test.parquet", annotated), limit=9)
    assert (len(found), found.total) == (4, 553)


def test_a_limit_does_not_change_what_n_is(tmp_path):
    file = mathvision(tmp_path, *({**MATHVISION, "id": str(index)} for index in range(5)))
    questions = load(of_size("mathvision", 5), file, limit=2)
    assert (len(questions), questions.total) == (2, 5)


def test_the_marks_tell_editions_apart(tmp_path):
    row = {"images": [image_cell()], "problem": "<image>Find x.", "answer": "5"}
    benchmark = get("geometry3k")
    whole, part = (edition.size for edition in benchmark.editions)
    assert (whole, part) == (601, 553)
    plain = write_parquet(tmp_path / "a" / "test.parquet", [row] * part)
    with pytest.raises(UserError, match=f"{part} questions, and geometry3k has {whole} "):
        load(benchmark, plain)
    annotated = [{**row, "id": index, "literals": ["x"], "theorems": ["y"]} for index in range(part)]
    found = load(benchmark, write_parquet(tmp_path / "b" / "test.parquet", annotated))
    assert found.edition.size == part and "FormalGeo" in found.edition.name
    with pytest.raises(UserError, match=f"{part - 1} questions, and geometry3k has {part} "):
        load(benchmark, write_parquet(tmp_path / "c" / "test.parquet", annotated[1:]))


def test_a_file_of_something_else(tmp_path):
    file = write_jsonl(tmp_path / "testmini.jsonl", [{"prompt": "Q?", "answer": "1"}])
    with pytest.raises(UserError, match=r"not a file of mathvision: no column id; it has prompt, answer"):
        load(get("mathvision"), file)


def test_a_folder_without_the_file_and_one_with_two(tmp_path):
    with pytest.raises(UserError, match=r"no file of aime24 in this folder; looked for .*--data aime24=FILE"):
        load(get("aime24"), tmp_path)
    row = {"id": 1, "problem": "Every morning Aya goes for a walk.", "answer": "033", "solution": "..."}
    for part in ("a", "b"):
        write_jsonl(tmp_path / part / "aime24.jsonl", [row])
    with pytest.raises(UserError, match=r"several files could be aime24: a/aime24\.jsonl, b/aime24\.jsonl"):
        load(get("aime24"), tmp_path)
    assert load(of_size("aime24", 1), tmp_path / "a")[0].answer == "33"
    with pytest.raises(UserError, match=r"nowhere: no such file or folder"):
        load(get("aime24"), tmp_path / "nowhere")


AYA = "Every morning Aya goes for a $9$-kilometer walk."


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "amc23",
            [{"problem": "Q?", "answer": 27.0}, {"problem": "R?", "answer": ""}],
            "row 1, answer: a question w",
        ),
        ("gsm8k", [{"question": "Q?", "answer": "It is 5."}], r"row 0, answer: the solution has no last line '####"),
        ("minerva", [{"problem": "Q?", "solution": "It is 5."}], "row 0, solution: no .boxed.* in it"),
        (
            "aime24",
            [{"problem": AYA, "answer": None, "solution": "\\boxed{5}"}],
            "row 0, answer or solution: a question without",
        ),
        ("aime25", [{"problem": AYA, "answer": "5"}], "not AIME 2025, I and II: none of its questions has the words"),
    ],
)
def test_a_question_without_an_answer_or_another_years_is_named(tmp_path, name, rows, message):
    write_jsonl(tmp_path / f"{name}.jsonl", rows)
    with pytest.raises(UserError, match=message):
        load(of_size(name, len(rows)), tmp_path / f"{name}.jsonl")


def test_answers_that_are_numbers_and_text_are_all_text(tmp_path):
    write_jsonl(tmp_path / "amc23.jsonl", [{"problem": "Q?", "answer": 27.0}, {"problem": "R?", "answer": "36.0"}])
    assert [question.answer for question in load(of_size("amc23", 2), tmp_path)] == ["27", "36.0"]


def test_shards_are_one_file(tmp_path):
    row = {"images": [image_cell()], "problem": "<image>Find x.", "answer": "5"}
    for index in range(2):
        write_parquet(tmp_path / "geometry3k" / f"test-{index:05}-of-00002.parquet", [row] * 3)
    questions = load(of_size("geometry3k", 6), tmp_path)
    assert len(questions) == 6 and "2 shards" in questions.source


def test_without_a_hub_the_error_says_how_to_give_a_file(monkeypatch):
    def no_hub(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", no_hub)
    with pytest.raises(
        UserError, match=r"aime25: the Hugging Face hub did not give math-ai/aime25@test .*no route.*--data"
    ):
        load(get("aime25"), None)


def test_other_questions_have_another_digest(tmp_path):
    first = load(of_size("mathvision", 1), mathvision(tmp_path, MATHVISION)).sha256
    assert load(of_size("mathvision", 1), mathvision(tmp_path, MATHVISION)).sha256 == first
    other = load(of_size("mathvision", 1), mathvision(tmp_path, {**MATHVISION, "answer": "7"})).sha256
    (tmp_path / "images" / "4.png").write_bytes(png("blue"))
    repainted = load(of_size("mathvision", 1), tmp_path / "testmini.jsonl").sha256
    assert len({first, other, repainted}) == 3


def test_the_documents_example_is_a_benchmark(tmp_path):
    document = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
    [example] = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    exec(example, scope)
    [benchmark] = scope["BENCHMARKS"]
    write_jsonl(tmp_path / "mine.jsonl", [{"id": index, "problem": "Q?", "answer": index} for index in range(120)])
    questions = load(benchmark, tmp_path)
    assert len(questions) == 120 and questions[7].answer == "7"


def test_the_registry_has_every_file_of_the_folder():
    folder = Path(get.__code__.co_filename).parent
    helpers = {"__init__", "base", "choices", "own", "registry", "rows", "sources"}
    modules = {path.stem for path in folder.glob("*.py")} - helpers
    assert {benchmark.read.__module__.rpartition(".")[2] for benchmark in benchmarks().values()} == modules
    with pytest.raises(UserError, match="--bench mathvison: no such benchmark; did you mean mathvision"):
        get("mathvison")


@pytest.mark.parametrize("index", [None, "x", 1.5, True])
def test_an_index_that_is_no_whole_number_is_named(tmp_path, index):
    row = {"question_id": 1, "question": "?", "options": ["a", "b"], "answer": "B", "category": "law"}
    file = write_jsonl(tmp_path / "mmlu_pro.jsonl", [{**row, "answer_index": index}])
    with pytest.raises(UserError, match=r"mmlu_pro\.jsonl, row 0, answer_index: expected a whole number, got"):
        load(of_size("mmlu_pro", 1), file)


def test_minerva_questions_on_one_situation_are_a_cluster(tmp_path):
    problems = ["Preamble: A prism.\n\nFind A.", "Preamble: A prism.\n\nFind B.", "Find C.\nNow.", "Find C.\nNow."]
    problems += ["Subproblem 0: Find D.", "Subproblem 0: Find D.\n\nSolution: 5\n\nSubproblem 1: Find E."]
    rows = [{"problem": text, "solution": "\\boxed{5}"} for text in problems]
    file = write_jsonl(tmp_path / "minerva.jsonl", rows)
    clusters = [question.cluster for question in load(of_size("minerva", 6), file)]
    assert clusters == [*["Preamble: A prism."] * 2, "", "", *["Subproblem 0: Find D."] * 2]
