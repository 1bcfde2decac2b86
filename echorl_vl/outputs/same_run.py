"""Whether the run in a folder is the one that a config asks for: what differs, what of it matters, where it ends."""

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
"""Keys that say where a run ends: it can go on to another number of steps where nothing else depends on that."""

SPLITTING_KEYS = frozenset(
    {
        "worker.actor.micro_batch_size_per_device_for_update",
        "worker.actor.micro_batch_size_per_device_for_experience",
    }
)
"""How the work is split: the same numbers but for rounding."""

# Keys that say where and how often something is written, or how the work is split, not what is computed.
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
    """Dotted keys whose values differ between two configs, except those for which `harmless` is true; sorted.

    `trainer.total_epochs` is no difference where `trainer.max_steps` overrides it in both.
    """
    flat = (_flatten(yaml.safe_load(text) or {}) for text in (old_yaml, new_yaml))
    old, new = ({ALIASES.get(key, key): value for key, value in config.items()} for config in flat)
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


def splitting_note(old_yaml: str, new_yaml: str) -> str | None:
    """What to say where the work is split in another way than before; None where it isn't."""
    changed = config_differences(old_yaml, new_yaml, harmless=lambda key: key not in SPLITTING_KEYS)
    if not changed:
        return None
    what = ", ".join(f"{key} was {old}, is {new} now" for key, old, new in changed)
    return f"{what}: the last digits may differ from those of a run that was never stopped"


def only_length_differs(differences: Sequence[Difference]) -> bool:
    """Whether two configs ask for the same run, but for its number of steps."""
    return bool(differences) and all(key in STEPS for key, _, _ in differences)


def length_fault(differences: Sequence[Difference], done: int) -> str | None:
    """Why a run that has done `done` steps can't end where the new config says; None if it can.

    differences: of `only_length_differs`.
    """
    changes = {key: (old, new) for key, old, new in differences}
    if MAX_STEPS not in changes:
        before, now = changes[TOTAL_EPOCHS]
        return None if now > before else f"{TOTAL_EPOCHS} is below the {before} of before"
    steps = changes[MAX_STEPS][1]
    if steps is None:
        return f"{MAX_STEPS} is null, expected a number above the {done} steps that are done"
    return None if steps > done else f"{MAX_STEPS} is {steps}, and {done} steps are done"


def read_config(path: Path) -> str:
    """The text of a run folder's config.yaml. Raises UserError, with a way out, if it is not the config of a run."""
    try:
        text = path.read_text(encoding="utf-8")
        if not isinstance(tree := yaml.safe_load(text), dict):
            raise ValueError("it is empty" if tree is None else "it holds no keys")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"{path} can't be read as a config ({why}), so nothing tells whether the run in this folder is the "
            "one that is asked for. If it is, write the file again with "
            f"`{program('train', 'echorl_vl.train')} YOUR_CONFIG [key=value ...] --print-config > {path}`; else start "
            "beside it with trainer.find_last_checkpoint=false."
        ) from error
    return text


def show_differences(differences: Sequence[Difference]) -> str:
    """One line a key."""
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
