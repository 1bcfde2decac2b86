"""Every package that the code imports is declared in pyproject.toml, and every declared one is imported."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("echorl_vl", "eval", "geometry3k")

# Import name -> its name on the index, where they differ.
CALLED = {
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "hydra": "hydra-core",
    "math_verify": "math-verify",
    "qwen_vl_utils": "qwen-vl-utils",
    "yaml": "pyyaml",
}

# Folder or file -> imports of the environment that it is made for, which this project does not install.
HOSTS = {
    "echorl_vl/engines/ray": {"ray"},
    "echorl_vl/engines/easyr1": {"einops", "msgspec", "ray", "verl", "vllm"},
    "echorl_vl/engines/verl": {"hydra", "ray", "tensordict", "transfer_queue", "verl"},
    "echorl_vl/trl": {"trl"},
    "echorl_vl/evaluation/generation/vllm_backend.py": {"vllm"},
}

# Declared and never imported by name, with the reason.
UNSEEN = {
    "pylatexenc": "mathruler imports it and does not declare it",
    "tensorboard": "torch.utils.tensorboard imports it",
    "torchvision": "transformers' image processors import it",
}


def imports(path: Path) -> set[str]:
    """Top-level names of the imports of a file that must be there: none below `try: ... except ImportError`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Try) and any(
            handler.type is None or re.search(r"ImportError|ModuleNotFoundError|Exception", ast.unparse(handler.type))
            for handler in node.handlers
        ):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found - set(sys.stdlib_module_names) - set(OURS)


def all_imports() -> dict[str, set[str]]:
    """Import name -> files that import it, those of a host environment aside."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for root in OURS for path in (ROOT / root).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        hosts = set().union(*(names for where, names in HOSTS.items() if place.startswith(where)))
        for name in imports(path) - hosts:
            found.setdefault(name, set()).add(place)
    return found


def declared() -> set[str]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML by itself")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    lines = [*project["dependencies"], *extras]
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in lines}


def test_every_import_is_declared() -> None:
    known = declared()
    missing = {name: sorted(files)[:3] for name, files in all_imports().items() if CALLED.get(name, name) not in known}
    assert missing == {}


def test_every_declared_package_is_imported() -> None:
    seen = {CALLED.get(name, name) for name in all_imports()} | set().union(*HOSTS.values())
    optional = {"wandb", "swanlab"}  # imported by name, where a logger is asked for
    assert declared() - seen - set(UNSEEN) - optional == set()
    assert set(UNSEEN) <= declared() and not set(UNSEEN) & seen


def test_a_host_is_imported_where_it_is_said_to_be() -> None:
    for where, names in HOSTS.items():
        path = ROOT / where
        files = [path] if path.is_file() else list(path.rglob("*.py"))
        assert names <= set().union(*map(imports, files)), where


def test_the_walk_sees_what_it_should(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import os.path, pandas as pd\nfrom numpy.linalg import norm\nfrom . import near\nfrom echorl_vl import data\n"
        "try:\n    import optional\nexcept ImportError:\n    optional = None\n"
        "def late():\n    import packaging.version\n"
    )
    assert imports(file) == {"pandas", "numpy", "packaging"}
