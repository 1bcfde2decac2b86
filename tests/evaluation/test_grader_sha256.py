"""The hash of the grader covers all sources that decide a grade."""

from __future__ import annotations

import ast
import re
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from echorl_vl.evaluation import settings
from echorl_vl.evaluation.settings import GRADER, grader_sha256

DECIDES = re.compile(r"echorl_vl\.evaluation\.grading\.\w+|echorl_vl\.(answers|rewards)\.\w+")


def imported(module: str) -> set[str]:
    """Return the modules of grading, answers and rewards that a module imports, at the top or in functions."""
    tree = ast.parse(Path(find_spec(module).origin).read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {
        f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    return {name for name in names if DECIDES.fullmatch(name) and find_spec(name) is not None}


def test_all_imports_of_the_grading_pass_are_hashed():
    left, found = ["echorl_vl.evaluation.grading.grade"], set()
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += imported(module)
    assert found == set(GRADER)


@pytest.mark.parametrize("module", GRADER)
def test_a_change_of_any_module_changes_the_hash(module, tmp_path, monkeypatch):
    before = grader_sha256()
    changed = tmp_path / "changed.py"
    changed.write_text(Path(find_spec(module).origin).read_text() + "\n")

    def spec(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None, origin=str(changed)) if name == module else find_spec(name)

    monkeypatch.setattr(settings, "find_spec", spec)
    assert grader_sha256() != before and re.fullmatch("[0-9a-f]{12}", before)
