"""Waiting for a driver process that Ray runs: Ctrl-C is passed on to it, and a process that dies ends the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from echorl_vl.engines.ray.lost import cause_of, lost_error, lost_processes, process_of
from echorl_vl.errors import UserError

LOOK_SECONDS = 5.0
GRACE_SECONDS = 20.0  # the driver may notice by itself, and then knows more


def follow(task: Any, stop: Path) -> bool:
    """Waits for the driver. The first Ctrl-C asks it to stop after the step and save, the second ends it at once.

    Raises:
        UserError: what a process of the run found wrong, or which one died. Nobody may be waiting for the one that did:
            verl's trainer asks for rollouts and then polls for them, for ever if their writer is gone.
    """
    asked, before = False, lost_processes()
    lost_since: float | None = None
    while True:
        try:
            ready, _ = ray.wait([task], timeout=LOOK_SECONDS)
            if ready:
                return ray.get(task)
            lost = [process for key, process in lost_processes().items() if key not in before]
            if not lost:
                continue
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since >= GRACE_SECONDS:
                raise lost_error(", ".join(lost), "", stop.parent)
        except KeyboardInterrupt:
            if asked:
                return False
            asked = True
            stop.touch()
            print("stopping after this step; Ctrl-C again stops at once", flush=True)
        except RayError as error:
            cause = cause_of(error)
            if isinstance(cause, UserError):
                raise UserError(str(cause)) from None
            if process := process_of(cause):
                raise lost_error(process, str(cause), stop.parent) from error
            raise
