"""Processes of a run on Ray that died: which ones, in words."""

from __future__ import annotations

import pkgutil
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import exceptions

from echorl_vl.errors import UserError

DIED = ("WORKER_DIED", "OWNER_DIED", "NODE_DIED")  # other reasons of Ray's: somebody let go of it, or ended it
GONE = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.LocalRayletDiedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)
_RAISED = re.compile(r"^(echorl_vl\.[\w.]+): ", re.MULTILINE)
"""Where a traceback tells of an exception of this package's."""


def cause_of(error: BaseException) -> BaseException:
    """What was raised first: Ray wraps an error anew in each process that it passes."""
    while isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    if isinstance(error, exceptions.RayActorError) and error.actor_init_failed:  # Ray keeps its text alone
        return _user_error(str(error)) or error
    return error


def _user_error(text: str) -> UserError | None:
    """The last UserError of a traceback, which tells of a class its name alone: those below it are looked up."""
    for found in reversed(list(_RAISED.finditer(text))):
        with suppress(ImportError, AttributeError, TypeError):
            if issubclass(pkgutil.resolve_name(found[1]), UserError):
                return UserError(text[found.end() :].strip())
    return None


def process_of(error: BaseException) -> str | None:
    """The process that an error of Ray's says to be gone; None where it says something else."""
    if not isinstance(error, GONE) or getattr(error, "actor_init_failed", False):
        return None
    actor_id = getattr(error, "actor_id", None)
    actor = _actors(actor_id) if actor_id else {}
    return _in_words(actor) if actor else type(error).__name__


def lost_processes() -> dict[str, str]:
    """Ray's processes of this run that died without being asked to, by id, in words. Empty if Ray does not answer."""
    actors = _actors(None, ray.JobID.from_hex(ray.get_runtime_context().get_job_id()), "DEAD")
    return {name: _in_words(actor) for name, actor in actors.items() if _died(actor)}


def lost_error(process: str, reason: str, run: Path) -> UserError:
    """The line that the user reads. reason: Ray's own words, if it has any."""
    words = f" Ray says: {reason.splitlines()[-1]}" if reason else ""
    return UserError(
        f"a process of this run died: {process}. Checkpoints up to now are in {run}, and the same command resumes from "
        f"the newest. A machine that runs out of memory ends the largest process; `dmesg` tells.{words}"
    )


def _actors(*arguments: Any) -> dict[str, Any]:
    """Ray's table of actors, or one row of it; Ray's public way to it goes through its dashboard, which may be off."""
    from ray._private import state

    try:
        return state.actors(*arguments)
    except Exception:
        return {}


def _died(actor: dict[str, Any]) -> bool:
    cause = actor["DeathCause"]
    if cause.HasField("oom_context"):
        return True
    context = cause.actor_died_error_context
    return context.Reason.Name(context.reason) in DIED and "INTENDED" not in context.error_message


def _in_words(actor: dict[str, Any]) -> str:
    name = actor["ActorClassName"].rpartition(".")[2]
    where = actor.get("Address", {}).get("IPAddress")
    return f"{name} (pid {actor['Pid']}{f' on {where}' if where else ''})"
