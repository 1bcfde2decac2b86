"""Every command in the README, the docs, the recipes and the benchmarks is valid.

A training command must load and pass all checks of its engine. Other commands must pass their own argument parser.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echorl_vl import train
from echorl_vl.cli import COMMANDS as COMMANDS_OF_ECHORL
from echorl_vl.config import ENGINES, load_config

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "docs/*.py", "configs/*.yaml", "benchmarks/*.py", "Makefile")
OURS = ("echorl_vl", "eval", "geometry3k", "benchmarks", "docs")
ELIDED = re.compile(r"\.\.\.|\[|\$")  # a template of a command ("[key=value ...]", "$(ARGS)")


def commands() -> Iterator[tuple[str, str]]:
    """Yield (page:line, command) for each distinct `python`, `pytest`, `make` and `echorl` command."""
    seen = set()
    for pattern in PAGES:
        for page in sorted(REPOSITORY.glob(pattern)):
            text = re.sub(r"\\\n\s*(#\s*)?", " ", page.read_text(encoding="utf-8"))  # continued lines
            for number, line in enumerate(text.splitlines(), 1):
                found = re.findall(r"`((?:python|pytest|make|echorl) [^`]+)`", line)
                block = re.fullmatch(r"(?:\s|#)*((?:[A-Z_]+=\S+ )?(?:python|pytest|make|echorl) .*)", line)
                if block and "`" not in line and page.name != "Makefile":
                    found.append(re.split(r"\s+#|\s{3,}", block[1])[0])
                for command in found:
                    if command not in seen and not ELIDED.search(command):
                        seen.add(command)
                        yield f"{page.relative_to(REPOSITORY)}:{number}", command


COMMANDS = dict((command, place) for place, command in commands())


class Parsed(Exception):
    """The program has parsed its arguments."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{COMMANDS[command]}")
def test_commands_in_the_docs_are_valid(command, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    program, *arguments = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    if program == "make":
        targets = re.findall(r"^([\w-]+):", Path("Makefile").read_text(), re.MULTILINE)
        assert [word for word in arguments if "=" not in word and word not in targets] == []
    elif program == "pytest" or arguments[:2] == ["-m", "pytest"]:
        paths = [word for word in arguments if word.startswith("tests")]
        assert paths and all(Path(path.split("::")[0]).exists() for path in paths)
    elif program == "echorl":
        assert arguments[0] in (*COMMANDS_OF_ECHORL, "--help", "--version")
        if arguments[0] in COMMANDS_OF_ECHORL:
            _check_module(COMMANDS_OF_ECHORL[arguments[0]].module, arguments[1:], monkeypatch)
    elif arguments[0] == "-m":
        _check_module(arguments[1], arguments[2:], monkeypatch)
    elif arguments[0] == "benchmarks/easyr1_overhead.py":
        pytest.skip("importing it replaces CUDA by the CPU in this process")
    elif arguments[0].endswith(".py"):
        monkeypatch.syspath_prepend(str(Path(arguments[0]).parent.resolve()))
        _parse(arguments[0], lambda: runpy.run_path(arguments[0], run_name="__main__"), arguments[1:], monkeypatch)
    else:
        assert arguments[0] == "-c"
        compile(arguments[1], command, "exec")


def test_the_search_finds_the_commands():
    """The test above depends on the search, so check commands from different kinds of places."""
    assert {
        "python -m echorl_vl.train configs/geo3k_tiny.yaml echo.coef=0",  # head of a recipe
        "python -m echorl_vl.train configs/geo3k_tiny.yaml echo.coef=0 trainer.save_checkpoint_path=runs/grpo",
        "python benchmarks/mining.py",  # in a table
        "make test",
    } <= set(COMMANDS)
    assert len(COMMANDS) > 60


def _check_module(module: str, arguments: list[str], monkeypatch) -> None:
    if module.split(".")[0] not in OURS:  # commands of verl and lmms-eval
        return
    if module != "echorl_vl.train":
        _parse(module, lambda: runpy.run_module(module, run_name="__main__", alter_sys=True), arguments, monkeypatch)
        return
    values = [argument for argument in arguments if not argument.startswith("-")]
    assert set(arguments) - set(values) <= set(train.FLAGS)
    if not values:
        return
    if not (REPOSITORY / values[0]).exists():  # a file that the reader has written with echorl_vl.init
        values[0] = "configs/geo3k_tiny.yaml"
    config = load_config(values[0], values[1:])  # includes the checks of an explicit engine
    if config.engine == "local" or (config.engine == "auto" and Path(config.worker.actor.model.model_path).is_dir()):
        ENGINES["local"].check(config)
    elif config.engine == "auto":
        ENGINES["easyr1"].check(config)


def _parse(name: str, run, arguments: list[str], monkeypatch) -> None:
    """Run a program until it parses its arguments."""
    parse = argparse.ArgumentParser.parse_known_args

    def parse_and_stop(parser, *given, **named):
        parse(parser, *given, **named)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        run()
    except Parsed:
        return
    except SystemExit as end:  # without arguments, the page only mentions the program
        assert not arguments or end.code in (0, None), f"{name} rejects {arguments}"
    assert not arguments, f"{name} did not parse {arguments}"
