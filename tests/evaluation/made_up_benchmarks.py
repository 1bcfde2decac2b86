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
PICTURE_MODEL = REPOSITORY / "echorl_vl" / "tiny" / "model"


def png(color: str = "red", size: tuple[int, int] = (56, 56)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def image_cell(color: str = "red") -> dict[str, object]:
    """A picture as `datasets` stores it in parquet."""
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
    """The benchmark as if its official file had `size` questions."""
    benchmark = get(name)
    return replace(benchmark, editions=tuple(replace(edition, size=size) for edition in benchmark.editions))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "eval.run", *map(str, arguments)]


def environment() -> dict[str, str]:
    """For a command of its own process: this checkout's package, one thread, and no hub."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
