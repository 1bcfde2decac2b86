"""Where relative paths in a configuration lead.

In this order: the working directory, the folder of the configuration file, the folder that holds the `echorl_vl`
package (so that `echorl_vl/tiny/model` works from anywhere). What exists in none of them stays as it is: a hub id, or a
mistake that the checks report.
"""

from __future__ import annotations

import os
from pathlib import Path

import echorl_vl
from echorl_vl.places import matches, split_places

from .dump import get_value, set_value
from .schema import Config

PACKAGE_HOME = Path(echorl_vl.__file__).resolve().parent.parent

# Keys whose value may have a suffix after the path: `@split` and `:function`.
PROBLEM_SETS = ("data.train_files", "data.val_files")
FUNCTIONS = ("worker.reward.reward_function",)
SELECTOR = "echo.select"  # path.py:name, or the name of one that there is
PLAIN = (
    "data.image_dir",
    "data.format_prompt",
    "data.override_chat_template",
    "worker.actor.model.model_path",
    "worker.actor.model.tokenizer_path",
    "worker.critic.model.model_path",
    "worker.critic.model.tokenizer_path",
    "trainer.load_checkpoint_path",
)

WRITTEN = ("trainer.save_checkpoint_path", "trainer.project_name", "trainer.experiment_name", "trainer.ray_timeline")
PATHS = frozenset((*PROBLEM_SETS, *FUNCTIONS, SELECTOR, *PLAIN, *WRITTEN))
"""Keys whose value is a path, or a part of one."""


def search_folders(config_folder: str | Path | None = None) -> list[Path]:
    """The folders that relative paths are looked up in, in order, without repeats."""
    folders = [Path.cwd(), *([Path(config_folder).resolve()] if config_folder is not None else []), PACKAGE_HOME]
    return list(dict.fromkeys(folders))


def find_path(value: str, config_folder: str | Path | None = None) -> str | None:
    """The absolute path that `value` names, or None where nothing exists there."""
    if not value or "\0" in value:
        return None
    try:
        path = Path(value).expanduser()
        for folder in search_folders(config_folder):
            if (folder / path).exists():  # an absolute path swallows the folder
                return os.path.abspath(folder / path)
    except (OSError, RuntimeError):  # a name too long for the file system, or an unknown ~user
        return None
    return None


def split_suffix(value: str, mark: str) -> tuple[str, str]:
    """("path", "@split") at the last `mark`; the suffix is empty where there is none."""
    head, found, tail = value.rpartition(mark)
    return (head, found + tail) if found else (value, "")


def _resolve_places(value: str | list[str], config_folder: str | Path | None) -> str | list[str]:
    """The places of problems with absolute paths, as a list if they came as one."""
    if not isinstance(value, str):
        return [_resolve_place(place, config_folder) for place in value]
    if find_path(value, config_folder):  # a path with commas in it
        return _resolve_place(value, config_folder)
    return ",".join(_resolve_place(place, config_folder) for place in split_places(value))


def _resolve_place(place: str, config_folder: str | Path | None) -> str:
    whole = find_path(place, config_folder)
    if whole is not None:
        return whole
    head, suffix = split_suffix(place, "@")
    found = find_path(head, config_folder) or _find_pattern(head or place, config_folder)
    return found + suffix if found else place


def _find_pattern(pattern: str, config_folder: str | Path | None) -> str | None:
    """The absolute pattern where it matches something."""
    candidates = [os.path.join(folder, os.path.expanduser(pattern)) for folder in search_folders(config_folder)]
    return next((candidate for candidate in candidates if matches(candidate)), None)


def resolve_function(value: str, config_folder: str | Path | None = None) -> str:
    """`path.py:function` with the absolute path, where the file exists; any other text as it is."""
    head, suffix = split_suffix(value, ":")
    found = find_path(head, config_folder) if suffix else None
    return found + suffix if found else value


def resolve_paths(config: Config, config_folder: str | Path | None = None) -> None:
    """Makes every existing path of `config` absolute, in place."""
    for key in PROBLEM_SETS + FUNCTIONS + PLAIN:
        value = get_value(config, key)
        if not value:
            continue
        if key in PROBLEM_SETS:
            set_value(config, key, _resolve_places(value, config_folder))
            continue
        whole = find_path(value, config_folder)
        if whole is None and key not in PLAIN:
            whole = resolve_function(value, config_folder)
        if whole is not None:
            set_value(config, key, whole)
