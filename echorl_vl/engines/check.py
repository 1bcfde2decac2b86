"""Checks that this environment has what an engine needs: `echorl check ENGINE`.

Prints the installed versions and, for an engine with a host framework, whether the host has everything that the adapter
uses. The exit status is 0 if a run can start, and 2 otherwise. Without a GPU it checks for a CPU dry run, which does
not need vllm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import echorl_vl.engines  # noqa: F401 - registers them
from echorl_vl.config import ENGINES
from echorl_vl.outputs.command import command, make_parser, parse_arguments


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser("check", "echorl_vl.engines.check", __doc__)
    parser.add_argument("engine", choices=tuple(ENGINES))
    parser.add_argument("--cpu", action="store_true", help="check for a CPU dry run, even if there is a GPU")
    chosen = parse_arguments(parser, arguments)
    for line in ENGINES[chosen.engine].check_environment(chosen.cpu):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
