"""The rooms of the package lie above each other: a module imports its own room and those below, at run time too."""

from __future__ import annotations

import subprocess
import sys

import pytest
from walk import imports_of, modules, read

ROOMS = (
    "echorl_vl",  # the version
    "starter",  # files that `echorl init` copies
    "errors",
    "core",
    "places",
    "safe_yaml",
    "shares",
    "types",
    "algorithms",
    "config",
    "help",
    "start_notes",
    "outputs",
    "models",
    "answers",
    "data",
    "rewards",
    "engines",
    "trl",
    "dry_run",
    "generators",
    "train",
    "init",
    "evaluation",
    "tiny",
    "evidence",
    "cli",
)
"""From the lowest to the highest."""

LIGHT = """
import sys
import echorl_vl.generators
heavy = {"torch", "numpy", "PIL", "matplotlib", "datasets", "pyarrow", "transformers"}
print(sorted(heavy & set(sys.modules)))
"""


def room(module: str) -> str:
    """The folder or file below the package that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def test_every_room_has_its_place() -> None:
    assert sorted({room(module) for module in modules()}) == sorted(ROOMS)


@pytest.mark.parametrize("lower", ROOMS)
def test_a_room_names_no_room_above_it(lower: str) -> None:
    above = ROOMS[ROOMS.index(lower) + 1 :]
    for module in (each for each in modules() if room(each) == lower):
        named = {room(name) for name in imports_of(module).all if name in modules()} & set(above)
        assert not named, f"{module} names {', '.join(sorted(named))}, which lies above {lower}"


def test_registering_the_generators_draws_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_walk_sees_imports_of_every_kind(tmp_path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "from __future__ import annotations\nimport os.path, yaml\nfrom typing import TYPE_CHECKING\n"
        "from echorl_vl import places\nfrom .near import thing\nfrom .. import errors\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "try:\n    import fcntl\nexcept ImportError:\n    fcntl = None\n"
        "try:\n    import echorl_vl.shares\nexcept Exception:\n    pass\n"
        "NAME = 'echorl_vl.train'\n"
        "def late():\n    import numpy\n    import_module(f'echorl_vl.engines.{NAME}')\n"
        "    return program('x', 'echorl_vl.cli')\n"
    )
    found = read(file, "echorl_vl.data.module")
    ours = {"echorl_vl.places", "echorl_vl.data.near", "echorl_vl.errors", "echorl_vl.shares"}
    assert {"os.path", "yaml"} | ours <= found.top
    assert found.late == {"numpy"}
    assert found.by_name == {"echorl_vl.train", "echorl_vl.engines"}
    assert not {"torch", "fcntl", "echorl_vl.cli"} & found.all
