"""Reads from the sources what each module of the package imports: at the top, in functions, and by name."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "echorl_vl"
_TEXT = re.compile(r"(echorl_vl(?:\.\w+)+)\.?")
_ADVICE = ("make_parser", "program")  # their arguments are commands for the user to type


@dataclass
class Imports:
    """The imports of a module, without those for types and optional third-party ones (`except ImportError`).

    Attributes:
        top: imported at the top of the module.
        late: imported inside functions.
        by_name: our own modules in string literals, as for `importlib`.
    """

    top: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    by_name: set[str] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        return self.top | self.late | self.by_name


@cache
def modules() -> dict[str, Path]:
    """The modules of the package by their dotted names."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports_of(module: str) -> Imports:
    """What a module of the package imports."""
    return read(modules()[module], module)


def read(path: Path, module: str = "") -> Imports:
    """What a file imports; `module` is its dotted name, for relative imports."""
    found = Imports()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    _visit(ast.parse(path.read_text(encoding="utf-8")), found, package)
    return found


def _visit(node: ast.AST, found: Imports, package: str, late: bool = False, optional: bool = False) -> None:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    optional = optional or (isinstance(node, ast.Try) and any(_forgives(handler) for handler in node.handlers))
    names = {name for name in _names(node, package) if not optional or name in modules()}
    (found.late if late else found.top).update(names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ADVICE:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (text := _TEXT.fullmatch(node.value)):
        found.by_name.update({text[1]} & modules().keys())
    for child in ast.iter_child_nodes(node):
        _visit(child, found, package, late, optional)


def _forgives(handler: ast.ExceptHandler) -> bool:
    if isinstance(handler.body[-1], ast.Raise):  # the import is required; the error names what to install
        return False
    kind = "" if handler.type is None else ast.unparse(handler.type)
    return handler.type is None or re.search(r"\b(ImportError|ModuleNotFoundError|Exception)\b", kind) is not None


def _names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in modules())


def foreign(names: set[str]) -> set[str]:
    """The top-level packages among them that are third-party."""
    ours = {"", "echorl_vl", "eval", "geometry3k"}  # "" is a relative import in a file that is none of the package
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - ours


def loaded_by(module: str) -> set[str]:
    """Our own modules that importing `module` loads, with itself and the enclosing packages."""
    found: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        if name in found or name not in modules():
            continue
        found.add(name)
        left += [name.rpartition(".")[0], *imports_of(name).top]
    return found
