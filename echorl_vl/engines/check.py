"""Whether this environment has what an engine on Ray needs: `python -m echorl_vl.engines.check easyr1` (or `verl`).

Prints the versions that were found and whether every name that the adapter hooks into is there; exits with 0 if a run
could start, else with 2 and what is missing. Without a GPU it checks for a CPU dry run, which needs no vllm.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType

from echorl_vl.config.issues import raise_if_any
from echorl_vl.errors import UserError
from echorl_vl.outputs.command import command
from echorl_vl.outputs.terminal import print_error

ENGINES = ("easyr1", "verl")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m echorl_vl.engines.check", description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--cpu", action="store_true", help="for a CPU dry run, also where there is a GPU")
    chosen = parser.parse_args(arguments)
    try:
        for line in check(chosen.engine, chosen.cpu):
            print(line, flush=True)
    except UserError as error:
        print_error(error)
        return 2
    return 0


def check(engine: str, cpu: bool) -> Iterator[str]:
    """Lines about what was found, in the order of the checks. Raises UserError with what keeps a run from starting."""
    hooks, preflight, stand_ins = (_module(engine, name) for name in ("hooks", "preflight", "dry_run"))
    hooks.check_installed()
    yield hooks.found_verl()
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    dry_run = cpu or not gpus
    yield f"torch {torch.__version__}, {gpus} GPUs: checked for {'a CPU dry run' if dry_run else 'training'}"
    for name, version in preflight.found_versions():
        yield f"{name} {version or 'is not installed'}"
    raise_if_any(preflight.version_issues(dry_run))
    if dry_run:  # puts something in the place of CUDA and vllm, without which the modules can't be imported
        os.environ |= stand_ins.ENVIRONMENT
        _module(engine, "dry_run.install").install()
    warnings.simplefilter("ignore")  # the hosts name parts of theirs that nobody asked for
    hooks.check_hooks()
    yield f"all {len(hooks.HOOKS)} names of {engine} that the adapter uses are there, with their parameters"


def _module(engine: str, name: str) -> ModuleType:
    return import_module(f"echorl_vl.engines.{engine}.{name}")


if __name__ == "__main__":
    sys.exit(main())
