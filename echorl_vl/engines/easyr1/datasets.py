"""The problem sets of a run: checked row by row as for the embedded engine, and as EasyR1 can read them."""

from __future__ import annotations

import copy
from pathlib import Path

from echorl_vl.config import Config
from echorl_vl.data.problem import Problems
from echorl_vl.data.sources import GENERATED, load_problems
from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic

KEYS = ("train_files", "val_files")


def load_sets(config: Config) -> dict[str, Problems]:
    """Both sets, checked: columns, `<image>` counts, pictures, size.

    Raises UserError naming file, row and field, or a training set that does not fill one batch.
    """
    data = config.data
    keys = (data.prompt_key, data.answer_key, data.image_key, data.image_dir, data.video_key)
    sets = {key: load_problems(getattr(data, key), *keys, videos=True) for key in KEYS}
    batch, found = data.mini_rollout_batch_size or data.rollout_batch_size, len(sets["train_files"])
    if found < batch:
        raise UserError(f"data.train_files = {data.train_files}: {found} problems, and one batch takes {batch}")
    return sets


def readable_by_easyr1(config: Config, run: Path) -> Config:
    """The configuration with generated sets written to parquet below `run`, since EasyR1 reads files and the hub."""
    changed = copy.copy(config)
    changed.data = copy.copy(config.data)
    for key in KEYS:
        spec = getattr(config.data, key)
        if spec.startswith(GENERATED):
            place, _, split = spec.partition("@")
            split = split or "train"
            path = run / "data" / f"{place.removeprefix(GENERATED)}_{split}.parquet"
            if not path.is_file():
                _write_generated(split, path)
            setattr(changed.data, key, str(path))
    return changed


def _write_generated(split: str, path: Path) -> None:
    from geometry3k.generate import load_split

    rows = load_split(split).select_columns(["images", "problem", "answer"])
    with atomic.replacing(path, durable=False) as partial:
        rows.to_parquet(str(partial))
