"""The command `echorl`, which runs each program of this package under a short name."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from echorl_vl import __version__
from echorl_vl.errors import INTERRUPTED, USAGE_ERROR
from echorl_vl.outputs.command import command
from echorl_vl.outputs.terminal import print_error


class Command(NamedTuple):
    """A program.

    Attributes:
        module: has its function `main`.
        extra: the extra of the package that it needs; "" for none.
        summary: its line in `echorl --help`.
    """

    module: str
    extra: str
    summary: str


COMMANDS = {
    "init": Command("echorl_vl.init", "", "write a starter configuration, and a reward to start from"),
    "train": Command("echorl_vl.train", "train", "train a policy; --dry-run shows the data and tries the reward first"),
    "show": Command("echorl_vl.outputs.show", "train", "print rollouts of a run, with step entropies and EchoClips"),
    "plots": Command(
        "echorl_vl.outputs.plots", "train", "draw the plots of a run again, or compare several runs in one plot"
    ),
    "eval": Command("echorl_vl.evaluation.run", "eval", "score a checkpoint on benchmarks; --list names them"),
    "compare": Command(
        "echorl_vl.evaluation.compare", "eval", "test whether model B is better than model A on benchmarks"
    ),
    "generate": Command("echorl_vl.generators.geometry3k.generate", "train", "generate geometry problems from a seed"),
    "convert": Command("echorl_vl.generators.geometry3k.convert", "train", "convert the Geometry3K release to parquet"),
    "check": Command("echorl_vl.engines.check", "train", "check that this environment has what an engine needs"),
    "evidence": Command("echorl_vl.evidence.__main__", "train", "repeat the paper's analyses (from a checkout)"),
    "warmstart": Command("echorl_vl.tiny.warmstart", "train", "train the tiny policy for images again"),
    "warmstart-text": Command("echorl_vl.tiny.arithmetic.warmstart", "train", "train the tiny policy for text again"),
}

BROUGHT_BY = {"train": "peft", "eval": "math_verify"}
"""Extra -> a module that only this extra installs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status of the program, or 2 if there is no such command."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or [""]
    if name in ("--version", "--help", "-h", ""):
        return _print(f"echorl-vl {__version__}" if name == "--version" else _help()) or (0 if name else USAGE_ERROR)
    if name not in COMMANDS:
        print_error(_unknown(name))
        return USAGE_ERROR
    module, extra, _ = COMMANDS[name]
    try:
        if extra and find_spec(BROUGHT_BY[extra]) is None:
            raise ModuleNotFoundError(name=BROUGHT_BY[extra])
        program = import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "echorl_vl" or not extra:
            raise
        needs = f"`echorl {name}` needs the package {package}, which is not installed"
        print_error(f'{needs}: pip install "echorl-vl[{extra}]"')
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return program.main(rest)


@command
def _print(text: str) -> int:
    print(text)
    return 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {each.summary}" for name, each in COMMANDS.items()]
    return "\n".join(["usage: echorl COMMAND ...", "", *lines, "", "`echorl COMMAND --help` describes its options."])


def _unknown(name: str) -> str:
    if name.endswith((".yaml", ".yml")):
        return f"expected a command, got {name}; did you mean `echorl train {name}`?"
    nearest = difflib.get_close_matches(name.strip("-"), COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"expected one of {', '.join(COMMANDS)}"
    return f"unknown command {name}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
