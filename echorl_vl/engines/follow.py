"""Waiting for a driver process that Ray runs, and passing Ctrl-C on to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from echorl_vl.errors import UserError


def follow(task: Any, stop: Path) -> bool:
    """Waits for the driver. The first Ctrl-C asks it to stop after the step and save, the second ends it at once."""
    asked = False
    while True:
        try:
            return ray.get(task)
        except KeyboardInterrupt:
            if asked:
                return False
            asked = True
            stop.touch()
            print("stopping after this step; Ctrl-C again stops at once", flush=True)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from None
            raise
