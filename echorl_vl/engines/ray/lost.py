"""Find the processes of a run on Ray that died, and name them in an error."""

from __future__ import annotations

import pkgutil
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import exceptions

from echorl_vl.errors import UserError

DIED = ("WORKER_DIED", "OWNER_DIED", "NODE_DIED")  # Ray's other reasons: out of scope, or killed on purpose
GONE = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.LocalRayletDiedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)
_RAISED = re.compile(r"^(echorl_vl\.[\w.]+): ", re.MULTILINE)
"""The line of a traceback that names an exception of this package."""


def cause_of(error: BaseException) -> BaseException:
    """The original exception: Ray wraps it again in each process that it passes through."""
    while isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    if isinstance(error, exceptions.RayActorError) and error.actor_init_failed:  # Ray keeps only its text
        return _user_error(str(error)) or error
    return error


def _user_error(text: str) -> UserError | None:
    """The last UserError in the text of a traceback, or None. Subclasses are found by their name."""
    for found in reversed(list(_RAISED.finditer(text))):
        with suppress(ImportError, AttributeError, TypeError):
            if issubclass(pkgutil.resolve_name(found[1]), UserError):
                return UserError(text[found.end() :].strip())
    return None


def process_of(error: BaseException) -> str | None:
    """The dead process that one of Ray's errors reports; None for other errors."""
    if not isinstance(error, GONE) or getattr(error, "actor_init_failed", False):
        return None
    actor_id = getattr(error, "actor_id", None)
    actor = _actors(actor_id) if actor_id else {}
    return _describe(actor) if actor else type(error).__name__


def lost_processes() -> dict[str, str]:
    """Processes of this run that died unexpectedly, id -> description. Empty if Ray does not answer."""
    actors = _actors(None, ray.JobID.from_hex(ray.get_runtime_context().get_job_id()), "DEAD")
    return {name: _describe(actor) for name, actor in actors.items() if _died(actor)}


def lost_error(process: str, reason: str, run: Path) -> UserError:
    """The error about a dead process. `reason`: Ray's message, or empty."""
    said = f" Ray says: {reason.splitlines()[-1]}" if reason else ""
    return UserError(
        f"a process of this run died: {process}. The same command resumes from the newest checkpoint in {run}. "
        f"Linux kills the largest process when memory runs out; `dmesg` shows whether it did.{said}"
    )


def _actors(*arguments: Any) -> dict[str, Any]:
    """Ray's table of actors, or one row of it. Ray's public API for it needs the dashboard, which may be off."""
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


def _describe(actor: dict[str, Any]) -> str:
    name = actor["ActorClassName"].rpartition(".")[2]
    where = actor.get("Address", {}).get("IPAddress")
    return f"{name} (pid {actor['Pid']}{f' on {where}' if where else ''})"
