"""The command line: `python -m echorl_vl.train configs/geo3k_tiny.yaml [key=value ...]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from echorl_vl import __version__
from echorl_vl.config import clip_note, full_help, load_config, short_help, start_notes, to_yaml
from echorl_vl.errors import INTERRUPTED, UserError
from echorl_vl.outputs.lost_console import forgiving_console
from echorl_vl.outputs.terminal import prepare_console, print_error, visible

USAGE_ERROR = 2
FLAGS = ("--help", "-h", "--help-all", "--version", "--print-config", "--dry-run")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status (0 done, 2 a mistake in the input, 130 stopped by the user)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    prepare_console()
    flags = [argument for argument in arguments if argument.startswith("-")]
    values = [argument for argument in arguments if not argument.startswith("-")]
    try:
        if "--version" in flags:
            print(f"echorl-vl {__version__}", flush=True)
            return 0
        if "--help-all" in flags:
            print(full_help(), flush=True)
            return 0
        if "--help" in flags or "-h" in flags or not arguments:
            print(short_help(), flush=True)
            return 0 if flags else USAGE_ERROR
        return _run(values, flags)
    except BrokenPipeError:  # the reader of a pipe has gone, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        with forgiving_console():
            print_error(error)
        return USAGE_ERROR
    except KeyboardInterrupt:
        with forgiving_console():
            print("stopped", file=sys.stderr)
        return INTERRUPTED


def _run(values: list[str], flags: list[str]) -> int:
    if unknown := [flag for flag in flags if flag not in FLAGS]:
        raise UserError(f"unknown option {unknown[0]}; expected one of {', '.join(FLAGS)} (keys go without --)")
    if not values or "=" in values[0]:
        raise UserError("the first argument has to be a configuration file, for example configs/geo3k_tiny.yaml")
    config = load_config(values[0], values[1:])
    if "--print-config" in flags:
        print(to_yaml(config), end="", flush=True)
        return 0
    if "--dry-run" in flags:
        from echorl_vl.engines.hub import check_hub

        check_hub(config)
        from echorl_vl.dry_run import dry_run
        from echorl_vl.outputs.quiet import quiet_libraries

        quiet_libraries()
        for line in dry_run(config):
            print(visible(line), flush=True)
        return 0
    from echorl_vl.engines import choose_engine, load_engine
    from echorl_vl.engines.start import check_start

    engine, reason = choose_engine(config)
    with forgiving_console():
        print(f"engine: {engine} ({reason})", flush=True)
        for line in (*start_notes(config), *clip_note(config)):
            print(visible(line), flush=True)
        check_start(config, engine, reason)
        from echorl_vl.outputs.quiet import quiet_libraries  # imports transformers, which the checks above do without

        quiet_libraries()
        return load_engine(engine)(config)


if __name__ == "__main__":
    sys.exit(main())
