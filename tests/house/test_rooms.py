"""The folders of the package are layers: a module imports from its own layer and those below, also at run time."""

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
    "spelling",
    "types",
    "algorithms",
    "config",
    "help",
    "start_notes",
    "answers",
    "outputs",
    "models",
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
    """The folder or file of the package that contains a module."""
    return module.split(".")[1] if "." in module else module


def test_every_folder_has_a_layer() -> None:
    assert sorted({room(module) for module in modules()}) == sorted(ROOMS)


@pytest.mark.parametrize("lower", ROOMS)
def test_no_layer_imports_one_above_it(lower: str) -> None:
    above = ROOMS[ROOMS.index(lower) + 1 :]
    for module in (each for each in modules() if room(each) == lower):
        named = {room(name) for name in imports_of(module).all if name in modules()} & set(above)
        assert not named, f"{module} names {', '.join(sorted(named))}, which lies above {lower}"


def test_registering_the_generators_imports_no_heavy_packages() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_forms_of_imports_are_found(tmp_path) -> None:
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
