"""A warning from verl's own trainers: they train without the echo term, whatever `+echo.` says."""

from __future__ import annotations

import functools
import sys
from typing import Any

from echorl_vl.core import EchoConfig


def warn_where_the_term_is_missing(trainer: type, ours: type) -> None:
    """Lets `trainer`, a class of verl's, say so when one is built with an `echo:` block and is none of `ours`."""
    build = trainer.__init__

    @functools.wraps(build)
    def build_and_warn(self: Any, *arguments: Any, **options: Any) -> None:
        config = options.get("config", arguments[0] if arguments else {})
        if not isinstance(self, ours) and (line := missing_term(config)):
            print(line, file=sys.stderr, flush=True)
        build(self, *arguments, **options)

    trainer.__init__ = build_and_warn


def missing_term(config: Any) -> str | None:
    """The warning for a configuration of verl's whose echo term nobody adds; None where it asks for none."""
    block = config.get("echo", None)
    if block is None or block.get("coef", EchoConfig.coef) == 0:
        return None
    mode = config.trainer.get("v1", {}).get("trainer_mode", None)
    found = f"trainer.v1.trainer_mode = {mode}" if config.trainer.get("use_v1", True) else "trainer.use_v1 = false"
    return (
        f"WARNING: this run trains WITHOUT the echo term. The configuration has echo.* keys, and {found} is verl's own "
        "trainer; expected trainer.v1.trainer_mode=echo_sync. To train without the term on purpose: +echo.coef=0."
    )
