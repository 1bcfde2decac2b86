"""The geometry generator: valid solutions, measures that only the image has, and splits that do not overlap."""

from __future__ import annotations

import io
import random
import re
from collections import defaultdict

import pytest
from PIL import Image

from echorl_vl.answers.grading import grade
from echorl_vl.data.sources import load_problems
from echorl_vl.generators.geometry3k import generate
from echorl_vl.generators.geometry3k.canvas import CELLS, PATCH, POSES, Canvas
from echorl_vl.generators.geometry3k.generate import SPLITS, draw_split, load_split
from echorl_vl.generators.geometry3k.kinds import KINDS, OOD_KINDS, TRAIN_KINDS, draw_problem
from echorl_vl.generators.splits import TEST, TRAIN, VALIDATION, Split, belongs_to

ARITHMETIC = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


class RecordingCanvas(Canvas):
    """Records the texts of labels."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.texts: list[str] = []

    def label(self, text, centre) -> None:
        self.texts.append(str(text))
        super().label(text, centre)


def problems(kind: str, count: int = 150):
    rng = random.Random(kind)
    return [draw_problem(kind, rng) for _ in range(count)]


def test_some_kinds_are_not_in_the_training_split() -> None:
    assert len(TRAIN_KINDS) >= 6 and len(OOD_KINDS) >= 3
    assert not TRAIN_KINDS.keys() & OOD_KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_all_approaches_have_valid_arithmetic(kind: str) -> None:
    lines = 0
    for problem in problems(kind):
        answers = [approach.answer for approach in problem.sketch.approaches]
        assert len(answers) >= 2 and answers[0] not in answers[1:], "incorrect approaches must have incorrect answers"
        for number in range(len(answers)):
            text = problem.solution(random.Random(0), number)
            assert text.endswith(f"\\boxed{{{answers[number]}}}.")
            assert grade(text, problem.answer) == (number == 0)
            for a, operation, b, result in ARITHMETIC.findall(text):
                assert OPERATIONS[operation](int(a), int(b)) == int(result), text
                lines += 1
    assert lines > 50


@pytest.mark.parametrize("kind", KINDS)
def test_measures_are_in_the_image_and_not_in_the_question(kind: str) -> None:
    for problem in problems(kind, 60):
        canvas = RecordingCanvas(CELLS * PATCH, problem.mirror, problem.pose)
        problem.sketch.draw(canvas)
        labels = sorted(text for text in canvas.texts if text != "x")
        assert labels == sorted(map(str, problem.sketch.numbers))
        assert not re.search(r"\d", problem.sketch.question)


def test_each_question_has_many_answers() -> None:
    answers = defaultdict(set)
    for kind in KINDS:
        for problem in problems(kind):
            answers[problem.sketch.question].add(problem.answer)
    assert min(map(len, answers.values())) >= 5


@pytest.mark.parametrize("kind", KINDS)
def test_labels_fit_in_every_pose_with_one_character_per_patch(kind: str) -> None:
    for problem in problems(kind, 20):
        for pose in range(POSES):
            canvas = Canvas(mirror=problem.mirror, pose=pose)
            problem.sketch.draw(canvas)
            cells = [(row, column) for row, column, _ in canvas._labels]
            assert len(cells) == len(set(cells))
            assert all(0 <= row < CELLS and 0 <= column < CELLS for row, column in cells)


def test_a_character_is_inside_its_patch() -> None:
    canvas = Canvas()
    canvas.label("8", (4.6, 2.4))
    ink = canvas.image().convert("L").point(lambda value: 255 * (value < 250))
    left, top, right, bottom = ink.getbbox()
    assert left >= 4 * PATCH and right <= 5 * PATCH and top >= 2 * PATCH and bottom <= 3 * PATCH


def test_two_numbers_are_separated() -> None:
    canvas = Canvas()
    canvas.label("12", (4, 4))
    canvas.label("34", (4, 4))
    first, second = canvas._labels[:2], canvas._labels[2:]
    assert first[0][0] != second[0][0] or abs(first[0][1] - second[0][1]) > 2


def test_a_label_without_free_cells_and_an_invalid_size_are_errors() -> None:
    canvas = Canvas()
    with pytest.raises(ValueError, match="no free cells for the label '123456789'"):
        canvas.label("123456789", (4, 4))
    with pytest.raises(ValueError, match="expected a positive multiple of 112, got 100"):
        Canvas(100)


def test_the_same_seed_generates_the_same_images() -> None:
    first, second = (load_split("validation", 12) for _ in range(2))
    assert [row["bytes"] for row in _images(first)] == [row["bytes"] for row in _images(second)]
    assert first["solution"] == second["solution"]
    assert load_split("validation", 12, seed=9)["problem"] != first["problem"]


def _images(rows):
    import datasets

    return [images[0] for images in rows.cast_column("images", [datasets.Image(decode=False)])["images"]]


def test_splits_share_no_problem() -> None:
    signatures = {}
    for name, split in SPLITS.items():
        generated = [problem for problem, _ in zip(draw_split(split), range(400), strict=False)]
        signatures[name] = {problem.signature for problem in generated}
        assert {problem.kind for problem in generated} <= set(split.kinds)
        assert all(problem.sketch.large == split.large for problem in generated)
    for name in ("validation", "test", "ood_kinds", "ood_sizes"):
        assert not signatures["train"] & signatures[name]
    assert not signatures["validation"] & signatures["test"]
    problem = draw_problem("leg", random.Random(0))
    assert sum(belongs_to(problem, buckets) for buckets in (TRAIN, VALIDATION, TEST)) == 1


@pytest.mark.slow
def test_a_split_has_distinct_problems_and_a_larger_size_is_an_error() -> None:
    small = Split(("hypotenuse",), 0, 0, TEST, large=False)
    generated = [(problem.signature, problem.pose) for problem in draw_split(small)]
    assert 20 < len(generated) == len(set(generated))
    message = r"size: expected at most \d+, the distinct problems of split 'ood_sizes', got 10000000"
    with pytest.raises(ValueError, match=message):
        load_split_without_images("ood_sizes", 10_000_000)


def load_split_without_images(name: str, size: int):
    """`load_split` without drawing images, which takes long."""
    original = generate.to_row
    generate.to_row = lambda problem, index, image_size: {}
    try:
        return load_split(name, size)
    finally:
        generate.to_row = original


def test_larger_images_show_the_same_diagram() -> None:
    problem = draw_problem("circle_angle", random.Random(1))
    small, large = (Image.open(io.BytesIO(problem.image(size))) for size in (112, 448))
    assert small.size == (112, 112) and large.size == (448, 448)
    shrunk = large.resize((112, 112), Image.Resampling.BOX)
    pixels = zip(shrunk.convert("L").tobytes(), small.convert("L").tobytes(), strict=True)
    difference = sum(abs(a - b) for a, b in pixels)
    assert difference / 112**2 < 6


def test_files_can_be_read_like_geometry3k(tmp_path) -> None:
    path = tmp_path / "out.parquet"
    assert generate.main(["--split", "test", "--size", "5", "--out", str(path)]) == 0
    loaded = load_problems(str(path))
    assert len(loaded) == 5 and loaded[0].question.startswith("<image>") and loaded[0].images
    assert len(load_problems("generated/geometry3k@validation")) == SPLITS["validation"].size


def test_invalid_arguments_are_errors(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        generate.main(["--out", str(tmp_path / "out.txt")])
    assert "expected a .parquet file" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"split: expected one of train, validation, .*, got 'trian'"):
        load_split("trian")
