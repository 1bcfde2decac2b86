"""Writes a starter configuration: `echorl init my.yaml [--text] [--reward my_reward.py]`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from echorl_vl.errors import UserError
from echorl_vl.outputs.atomic import write_text
from echorl_vl.outputs.command import job, program
from echorl_vl.outputs.terminal import visible

STARTER = Path(__file__).with_name("starter")
SHIPPED_REWARD = "echorl_vl/rewards/geometry.py:compute_score"


@job
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, or 2 after a `UserError`."""
    options = _parser().parse_args(arguments)
    written = write_starter(options.config, options.text, options.reward)
    print(visible("wrote " + ", ".join(str(path) for path in written)))
    print(visible(f"next: {program('train', 'echorl_vl.train')} {options.config} --dry-run"))
    return 0


def write_starter(config: Path, text: bool = False, reward: Path | None = None) -> list[Path]:
    """Writes a configuration that runs without changes, and optionally a reward file.

    Args:
        config: path of the configuration (.yaml). Its name without the suffix becomes the name of the run.
        text: whether the problems are text instead of images.
        reward: path of a reward file (.py) to write and use; None uses the reward of the package.

    Returns:
        The files that were written.

    Raises:
        UserError: a file exists, has an invalid suffix, or can't be written.
    """
    for path, suffixes in ((config, (".yaml", ".yml")), (reward, (".py",))):
        if path is not None:
            _check(path, suffixes)
    content = (STARTER / ("text.yaml" if text else "images.yaml")).read_text(encoding="utf-8")
    name = re.sub(r"[^\w.-]+", "_", config.stem)
    content = content.replace("RUN_NAME", name).replace("NAME.yaml", str(config))
    files = {config: content}
    if reward is not None:  # relative paths are also looked up in the configuration's folder
        function = f"{os.path.relpath(reward, config.parent)}:compute_score"
        files[config] = content.replace(
            f"reward_function: {SHIPPED_REWARD}", f"reward_function: {json.dumps(function)}"
        )
        files[reward] = (STARTER / "reward.py").read_text(encoding="utf-8")
    for path, written in files.items():
        write_text(path, written)
    return list(files)


def _check(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise UserError(f"{path}: expected a file name that ends in {' or '.join(suffixes)}")
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; choose another name, or remove it")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("init", "echorl_vl.init"),
        description="Writes a starter configuration that runs without changes; its comments say what to adapt.",
    )
    parser.add_argument("config", type=Path, help="configuration to write, for example my.yaml")
    parser.add_argument("--text", action="store_true", help="text problems instead of problems with images")
    parser.add_argument("--reward", type=Path, metavar="FILE.py", help="also write a reward function to adapt")
    return parser


if __name__ == "__main__":
    sys.exit(main())
