"""Made-up files in the layout of each benchmark's official file, and commands on the shipped policies."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from echorl_vl.evaluation.benchmarks import get
from echorl_vl.evaluation.benchmarks.base import Benchmark

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT_MODEL = REPOSITORY / "echorl_vl" / "tiny" / "arithmetic" / "model"
IMAGE_MODEL = REPOSITORY / "echorl_vl" / "tiny" / "model"


def png(color: str = "red", size: tuple[int, int] = (56, 56)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def image_cell(color: str = "red") -> dict[str, object]:
    """An image as `datasets` stores it in parquet."""
    return {"bytes": png(color), "path": f"{color}.png"}


def write_parquet(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def of_size(name: str, size: int) -> Benchmark:
    """Return a benchmark whose official file has `size` questions."""
    benchmark = get(name)
    return replace(benchmark, editions=tuple(replace(edition, size=size) for edition in benchmark.editions))


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


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "eval.run", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return the environment of a command: the package of this checkout, one thread, no hub."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
