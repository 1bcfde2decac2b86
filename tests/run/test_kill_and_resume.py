"""benchmarks/kill_and_resume.py: its runs resume to the same result, and it finds differences."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from short_runs import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks" / "kill_and_resume.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "arguments", [(), ("--config", "configs/math_tiny.yaml", "--algorithms", "relift")], ids=["images", "relift"]
)
def test_killed_and_resumed_runs_equal_an_undisturbed_one(tmp_path, arguments) -> None:
    command = [sys.executable, str(SCRIPT), "--runs", "3", "--jobs", "2", "--out", str(tmp_path / "out"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("3 of 3 continuations identical\n") and done.stdout.count("killed after") == 3


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("kill_and_resume", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def two_runs(script, tmp_path) -> tuple[Path, Path]:
    """Run folders that differ in times only."""
    for name in ("one", "other"):
        folder = tmp_path / name
        for part in (
            "rollouts/step_000001.parquet",
            "validation/step_000000.parquet",
            str(script.WEIGHTS),
            "plots/a.png",
        ):
            (folder / part).parent.mkdir(parents=True)
            (folder / part).write_text(part)
        rows = [{"step": step, "time": len(name), "timing_s/step": len(name), "a": 0.5} for step in (0, 1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "one", tmp_path / "other"


def test_equal_runs_are_equal(script, two_runs) -> None:
    assert list(script.differences(*two_runs)) == []


@pytest.mark.parametrize(
    ("part", "content", "reported"),
    [
        ("metrics.jsonl", '{"step": 0, "a": 0.5}\n{"step": 1, "a": 0.4999}\n', ["metrics.jsonl, step 1: a"]),
        ("metrics.jsonl", '{"step": 0, "a": 0.5}\n', ["metrics.jsonl: 2 and 1 rows"]),
        ("metrics.jsonl", '{"step": 0, "a": 0.5, "b": 1}\n{"step": 1, "a": 0.5}\n', ["metrics.jsonl, step 0: b"]),
        ("rollouts/step_000001.parquet", "x", ["rollouts/step_000001.parquet"]),
        ("validation/step_000001.parquet", "x", ["validation: 1 and 2 files"]),
        ("global_step_8/actor/huggingface/model.safetensors", "x", None),
    ],
)
def test_a_difference_is_reported(script, two_runs, part: str, content: str, reported: list[str] | None) -> None:
    (two_runs[1] / part).write_text(content)
    assert list(script.differences(*two_runs)) == (reported or [part])


def test_missing_files_are_reported(script, two_runs) -> None:
    shutil.rmtree(two_runs[1] / "global_step_8")
    shutil.rmtree(two_runs[1] / "plots")
    two_runs[1].with_name("other_2").mkdir()
    assert list(script.differences(*two_runs)) == [str(script.WEIGHTS), "other_2: a new run was started", "plots"]
