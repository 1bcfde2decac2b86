"""pyproject.toml declares every package that the code imports, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from walk import foreign, imports_of, loaded_by, modules, read

from echorl_vl.cli import BROUGHT_BY, COMMANDS

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


def all_imports() -> dict[str, set[str]]:
    """Import name -> files that import it, except packages of host environments."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for root in OURS for path in (ROOT / root).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        hosts = set().union(*(names for where, names in HOSTS.items() if place.startswith(where)))
        for name in foreign(read(path).all) - hosts:
            found.setdefault(name, set()).add(place)
    return found


def extras() -> dict[str, set[str]]:
    """Extra ("" for none) -> the packages that pip installs for it, with those of the extras that it includes."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML by itself")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = {"": project["dependencies"], **project["optional-dependencies"]}

    def packages(extra: str) -> set[str]:
        named = {line.removeprefix("echorl-vl[").rstrip("]") for line in lines[extra] if line.startswith("echorl-vl[")}
        own = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in lines[extra]} - {"echorl-vl"}
        return own.union(*map(packages, {*named, *([""] if extra else [])}))

    return {extra: packages(extra) for extra in lines}


def declared() -> set[str]:
    return set().union(*(packages for extra, packages in extras().items() if extra not in ("dev", "docs")))


def below(package: str) -> set[str]:
    """A package of ours and its modules."""
    return {module for module in modules() if f"{module}.".startswith(f"{package}.")}


def test_every_import_is_declared() -> None:
    known = declared()
    missing = {name: sorted(files)[:3] for name, files in all_imports().items() if CALLED.get(name, name) not in known}
    assert missing == {}


def test_every_declared_package_is_imported() -> None:
    seen = {CALLED.get(name, name) for name in all_imports()} | set().union(*HOSTS.values())
    optional = {"wandb", "swanlab"}  # imported by name, where a logger is asked for
    assert declared() - seen - set(UNSEEN) - optional == set()
    assert set(UNSEEN) <= declared() and not set(UNSEEN) & seen


def test_commands_import_only_packages_of_their_extra() -> None:
    """At the start for each command of `echorl`; at any time for evaluation."""
    for name, command in COMMANDS.items():
        starts = set().union(*(foreign(imports_of(module).top) for module in loaded_by(command.module)))
        assert {CALLED.get(each, each) for each in starts} <= extras()[command.extra], f"echorl {name}"
    used = set().union(*(foreign(imports_of(module).all) for module in below("echorl_vl.evaluation"))) - {"vllm"}
    assert {CALLED.get(each, each) for each in used} <= extras()["eval"]


def test_the_trl_trainer_imports_only_trl_transformers_and_torch() -> None:
    loaded = set().union(*map(loaded_by, below("echorl_vl.trl"))) | below("echorl_vl.core")
    used = set().union(*(foreign(imports_of(module).all) for module in loaded))
    assert {"torch", "trl"} <= used <= {"torch", "transformers", "trl"}  # TRL requires transformers itself


def test_core_imports_only_torch() -> None:
    assert extras()[""] == {"torch"}
    loaded = set().union(*map(loaded_by, below("echorl_vl.core")))
    assert set().union(*(foreign(imports_of(module).all) for module in loaded)) == {"torch"}


def test_the_package_that_identifies_an_extra_is_in_no_other() -> None:
    """`echorl` checks for this package to see whether an extra is installed."""
    marks = {extra: CALLED.get(module, module) for extra, module in BROUGHT_BY.items()}
    assert marks["train"] in extras()["train"] - extras()["eval"] and marks["eval"] in extras()["eval"] - extras()[""]
    assert {command.extra for command in COMMANDS.values()} - {""} == set(marks)


def test_dev_has_every_package_that_the_tests_import() -> None:
    found = set().union(*(foreign(read(path).all) for path in (ROOT / "tests").rglob("*.py")))
    near = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {path.stem for path in ROOT.glob("benchmarks/*.py")}
    hosts = set().union(*HOSTS.values()) | {"conftest", "tests", "vllm", "wandb", "swanlab"}
    assert {CALLED.get(name, name) for name in found - near - hosts} <= extras()["dev"]


def test_packages_of_hosts_are_imported_where_they_are_listed() -> None:
    for where, names in HOSTS.items():
        path = ROOT / where
        files = [path] if path.is_file() else list(path.rglob("*.py"))
        assert names <= set().union(*(foreign(read(each).all) for each in files)), where
