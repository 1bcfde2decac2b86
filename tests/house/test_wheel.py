"""The wheel contains one package with all of its files, and trains from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from walk import PACKAGE, ROOT

from echorl_vl import __version__

pytestmark = pytest.mark.slow

SHORT = [
    "trainer.max_steps=2",
    "data.rollout_batch_size=2",
    "data.val_files=''",
    "trainer.val_freq=-1",
    "trainer.val_before_train=false",
    "trainer.logger=[file]",
    "worker.actor.global_batch_size=2",
    "worker.rollout.n=4",
]


def sources() -> set[str]:
    """The files of the package in this checkout."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built without a network in a copy of the checkout."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("echorl_vl", "eval", "geometry3k"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", "out", "."], cwd=folder, check=True)
    (built,) = (folder / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new environment with the wheel, which uses the dependencies of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    place = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(folder / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # A line of a .pth file adds a folder, and not the .pth files in it: an editable install there stays out.
    lines = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (place / "dependencies.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin"


def run(environment: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of the environment without PYTHONPATH and without the hub."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = [str(environment / command[0]), *command[1:]]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=folder, env=variables)


def test_the_wheel_contains_exactly_the_files_of_the_package(wheel) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name for name in names if ".dist-info/" not in name} == sources()


def test_the_wheel_installs_no_other_package(environment, tmp_path) -> None:
    script = "import echorl_vl; from importlib.util import find_spec as find\n"
    script += "print(echorl_vl.__file__, find('eval'), find('geometry3k'))"
    where, *others = run(environment, tmp_path, "python", "-c", script).stdout.split()
    assert Path(where).is_relative_to(environment.parent) and others == ["None", "None"]


def test_an_installed_wheel_trains_from_an_empty_folder(environment, tmp_path) -> None:
    assert run(environment, tmp_path, "echorl", "--version").stdout == f"echorl-vl {__version__}\n"
    for flags in ([], ["--text"]):
        name = "text" if flags else "images"
        written = run(environment, tmp_path, "echorl", "init", f"{name}.yaml", *flags, "--reward", f"{name}.py")
        assert f"next: echorl train {name}.yaml --dry-run" in written.stdout, written.stderr
        trained = run(environment, tmp_path, "echorl", "train", f"{name}.yaml", *SHORT)
        assert trained.returncode == 0, trained.stderr[-2000:]
        run_folder = tmp_path / "runs" / name
        rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2]
        assert list((run_folder / "plots").glob("*.png"))
    assert run(environment, tmp_path, "echorl", "show", "runs/text").returncode == 0
    assert run(environment, tmp_path, "echorl", "plots", "runs/text").returncode == 0


def test_other_commands_of_the_wheel_start(environment, tmp_path) -> None:
    benchmarks = run(environment, tmp_path, "echorl", "eval", "--list")
    assert benchmarks.returncode == 0 and "geometry3k" in benchmarks.stdout, benchmarks.stderr[-2000:]
    made = run(environment, tmp_path, "echorl", "generate", "--size", "2", "--out", "made.parquet")
    assert made.returncode == 0 and made.stdout == "2 problems -> made.parquet\n", made.stderr[-2000:]
