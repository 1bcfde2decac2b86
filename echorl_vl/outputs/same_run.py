"""Compares the configuration of a run folder with the one of a new command: what differs, and whether it matters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from echorl_vl.config.names import ALIASES
from echorl_vl.errors import UserError
from echorl_vl.outputs.command import program

Difference = tuple[str, Any, Any]  # dotted key, value in the folder's config, value now

MAX_STEPS, TOTAL_EPOCHS = "trainer.max_steps", "trainer.total_epochs"
STEPS = frozenset({MAX_STEPS, TOTAL_EPOCHS})
"""Keys that set the length of a run, which can be resumed with another length if nothing else depends on it."""

SPLITTING_KEYS = frozenset(
    {
        "worker.actor.micro_batch_size_per_device_for_update",
        "worker.actor.micro_batch_size_per_device_for_experience",
    }
)
"""Keys that set how the work is split: they change results only by rounding."""

# Keys that set where and how often something is written, or how the work is split, but not what is computed.
HARMLESS_KEYS = SPLITTING_KEYS | {
    *(
        f"trainer.{name}"
        for name in (
            "project_name",
            "experiment_name",
            "logger",
            "save_checkpoint_path",
            "find_last_checkpoint",
            "save_freq",
            "save_limit",
            "save_model_only",
            "checkpoint_hash",
            "max_bad_steps",
            "rollout_save_freq",
            "val_freq",
            "val_before_train",
            "val_generations_to_log",
            "ray_timeline",
        )
    ),
    "worker.reward.num_cpus",
    "worker.reward.time_limit",
    "worker.reward.on_error",
}


def config_differences(
    old_yaml: str, new_yaml: str, harmless: Callable[[str], bool] = HARMLESS_KEYS.__contains__
) -> list[Difference]:
    """The dotted keys whose values differ between two configurations, sorted, except those that are `harmless`.

    `trainer.total_epochs` is no difference if `trainer.max_steps` overrides it in both.
    """
    old, new = flat_config(old_yaml), flat_config(new_yaml)
    if old.get(MAX_STEPS) is not None and new.get(MAX_STEPS) is not None:
        old.pop(TOTAL_EPOCHS, None)
        new.pop(TOTAL_EPOCHS, None)
    missing = object()
    keys = sorted(old.keys() | new.keys())
    return [
        (key, old.get(key), new.get(key))
        for key in keys
        if old.get(key, missing) != new.get(key, missing) and not harmless(key)
    ]


def flat_config(text: str) -> dict[str, Any]:
    """Dotted key -> value of a config.yaml, old names of keys replaced by the new ones."""
    return {ALIASES.get(key, key): value for key, value in _flatten(yaml.safe_load(text) or {}).items()}


def splitting_note(old_yaml: str, new_yaml: str) -> str | None:
    """A note if the work is split differently than before; None if not."""
    changed = config_differences(old_yaml, new_yaml, harmless=lambda key: key not in SPLITTING_KEYS)
    if not changed:
        return None
    what = ", ".join(f"{key} was {old}, is {new} now" for key, old, new in changed)
    return f"{what}: the last digits may differ from those of a run that was never stopped"


def only_length_differs(differences: Sequence[Difference]) -> bool:
    """Whether two configurations differ only in the number of steps."""
    return bool(differences) and all(key in STEPS for key, _, _ in differences)


def length_fault(differences: Sequence[Difference], done: int) -> str | None:
    """Why a run with `done` finished steps can't have the length of the new configuration; None if it can.

    Args:
        differences: differences for which `only_length_differs` is true.
        done: finished steps.
    """
    changes = {key: (old, new) for key, old, new in differences}
    if MAX_STEPS not in changes:
        before, now = changes[TOTAL_EPOCHS]
        return None if now > before else f"{TOTAL_EPOCHS} was {before}, is {now} now"
    steps = changes[MAX_STEPS][1]
    if steps is None:
        return f"{MAX_STEPS} is null, expected more than the {done} steps that are done"
    return None if steps > done else f"{MAX_STEPS} is {steps}, but {done} steps are done"


def read_config(path: Path) -> str:
    """The text of a run folder's config.yaml. Raises UserError, with a way out, if it is no configuration."""
    try:
        text = path.read_text(encoding="utf-8")
        if not isinstance(tree := yaml.safe_load(text), dict):
            raise ValueError("it is empty" if tree is None else "it has no keys")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"{path} can't be read as a config ({why}), so the run in this folder can't be compared with this command. "
            "If it is the same run, write the file again with "
            f"`{program('train', 'echorl_vl.train')} YOUR_CONFIG [key=value ...] --print-config > {path}`; "
            "otherwise start a new run in another folder with trainer.find_last_checkpoint=false."
        ) from error
    return text


def show_differences(differences: Sequence[Difference]) -> str:
    """One line a key: the value in the folder and the new value."""
    return "\n".join(f"  {key}: {_show(old)} there, {_show(new)} now" for key, old, new in differences)


def _show(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, default=str)


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists and empty mappings are values."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
