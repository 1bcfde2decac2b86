"""The command line: `python -m echorl_vl.train configs/geo3k_tiny.yaml [key=value ...]`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import echorl_vl.generators  # noqa: F401 - registers the sources of generated problems
from echorl_vl import __version__
from echorl_vl.config import Config, load_config, to_yaml
from echorl_vl.engines.hub import check_hub
from echorl_vl.engines.start import check_start, choose_engine
from echorl_vl.errors import INTERRUPTED, USAGE_ERROR, UserError
from echorl_vl.help import full_help, short_help
from echorl_vl.outputs.command import LOG_FLAGS, command, forgiving_console, program, set_log_level
from echorl_vl.outputs.log import is_quiet
from echorl_vl.outputs.terminal import prepare_console, print_error, visible
from echorl_vl.start_notes import clip_note, start_notes

FLAGS = ("--help", "-h", "--help-all", "--version", "--print-config", "--dry-run", *LOG_FLAGS)

logger = logging.getLogger("echorl_vl.train")  # __name__ is __main__ under python -m


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit status: 0, 2 after a `UserError`, or 130 if the user stopped the run.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    prepare_console()
    set_log_level("--quiet" in arguments, "--verbose" in arguments)
    flags = [argument for argument in arguments if argument.startswith("-")]
    values = [argument for argument in arguments if not argument.startswith("-")]
    try:
        if "--version" in flags:
            return _print(f"echorl-vl {__version__}")
        if "--help-all" in flags:
            return _print(full_help(program("train", "echorl_vl.train")))
        if "--help" in flags or "-h" in flags or not arguments:
            return _print(short_help(program("train", "echorl_vl.train"))) or (0 if flags else USAGE_ERROR)
        return _run(values, flags)
    except UserError as error:
        with forgiving_console():
            print_error(error)
            logger.debug("raised here:", exc_info=True)
        return USAGE_ERROR
    except KeyboardInterrupt:
        with forgiving_console():
            print("stopped", file=sys.stderr)
        return INTERRUPTED


@command
def _print(text: str) -> int:
    print(text)
    return 0


@command
def _dry_run(config: Config) -> int:
    engine, _ = choose_engine(config)
    check_hub(config, engine, with_size=False)
    from echorl_vl.dry_run import dry_run
    from echorl_vl.outputs.console import quiet_libraries

    quiet_libraries(progress=not is_quiet())
    for line in dry_run(config, engine):
        print(visible(line), flush=True)
    return 0


def _run(values: list[str], flags: list[str]) -> int:
    if unknown := [flag for flag in flags if flag not in FLAGS]:
        raise UserError(f"unknown option {unknown[0]}; expected one of {', '.join(FLAGS)} (write keys without --)")
    if "--quiet" in flags and "--verbose" in flags:
        raise UserError("--quiet and --verbose can't be combined")
    if not values or "=" in values[0]:
        raise UserError("expected a configuration file as the first argument, for example configs/geo3k_tiny.yaml")
    config = load_config(values[0], values[1:])
    if "--print-config" in flags:
        return _print(to_yaml(config).removesuffix("\n"))
    if "--dry-run" in flags:
        return _dry_run(config)
    engine, reason = choose_engine(config)
    with forgiving_console():
        logger.info("engine: %s (%s)", engine.name, reason)
        for note in (*start_notes(config), *clip_note(config)):
            logger.info(note)
        check_start(config, engine)
        from echorl_vl.outputs.console import quiet_libraries  # imports transformers, so after the checks

        quiet_libraries(progress=not is_quiet())
        return engine.run(config)


if __name__ == "__main__":
    sys.exit(main())
