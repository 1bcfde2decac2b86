"""Groups runs by configuration: the mean of each group with its interval over seeds, and the keys that differ."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from echorl_vl.errors import UserError
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.same_run import HARMLESS_KEYS, flat_config, read_config
from echorl_vl.outputs.terminal import visible

LEVEL = 0.95
LEAST_SEEDS = 3
"""Fewer runs get no interval: that of two reaches 9 standard deviations to each side of their mean."""


@dataclass(frozen=True)
class RunGroup:
    """Runs of one configuration, which differ only in their seeds.

    label: what the names of its runs begin with. seeds: the number of different seeds.
    config: dotted key -> value as text, for the keys in which the compared groups differ; "absent" for a missing key,
        "?" if the config.yaml can't be read.
    """

    label: str
    runs: list[RunData]
    seeds: int
    config: dict[str, str]

    def title(self, shown: int | None = None) -> str:
        """The label, with the number of seeds if there are several runs, of which `shown` are plotted (None: all)."""
        count = len(self.runs)
        if count == 1:
            return self.label
        word = "seeds" if self.seeds == count else "runs"
        part = f"{shown} of " if shown not in (None, count) else ""
        return f"{self.label} ({part}{count} {word})"


def group_runs(runs: Sequence[RunData], labels: Sequence[str]) -> list[RunGroup]:
    """Groups runs by their configuration, without seeds and keys that don't change results, such as names and folders.

    A run whose config.yaml can't be read is a group of its own.
    """
    configs = [_config(run) for run in runs]
    members: dict[Any, list[int]] = {}
    for index, config in enumerate(configs):
        key = index if config is None else tuple(sorted(_without_seeds(config).items()))
        members.setdefault(key, []).append(index)
    known = [_without_seeds(configs[first]) for first, *_ in members.values() if configs[first] is not None]
    names = sorted({name for config in known for name in config})
    different = [name for name in names if len({config.get(name) for config in known}) > 1]
    shown = _labels([[labels[index] for index in indices] for indices in members.values()])
    groups = []
    for label, indices in zip(shown, members.values(), strict=True):
        config = configs[indices[0]]
        seeds = {tuple(value for name, value in (configs[index] or {}).items() if _is_seed(name)) for index in indices}
        values = {name: "?" if config is None else config.get(name, "absent") for name in different}
        groups.append(RunGroup(label, [runs[index] for index in indices], len(seeds), values))
    return groups


def difference_table(groups: Sequence[RunGroup], width: int = 80) -> list[str]:
    """Lines of at most `width` characters: the configuration keys in which the groups differ, and their values.

    Each key is a row and each group a column. If that is too wide, each key is followed by a line for each group.
    """
    keys = list(groups[0].config) if groups else []
    if not keys:
        return []
    heads = ["configuration key", *(group.label for group in groups)]
    rows = [heads, *([key, *(visible(group.config[key]) for group in groups)] for key in keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    if sum(widths) + 2 * len(groups) <= width:
        return ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = []
    for key, *values in rows[1:]:
        lines.append(_cut(key, width))
        for label, value in zip(heads[1:], values, strict=True):
            lines.append(_cut(f"  {_cut(label, width // 2)}: {value}", width))
    return lines


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds and Student's 95 % interval at each step.

    Args:
        values: (S, R), NaN where a seed has no value.

    Returns:
        mean, low and high, (R,). The mean is NaN unless every seed has a value; the interval is NaN for fewer than
        `LEAST_SEEDS` seeds.
    """
    from scipy import stats  # here: slow to import, and only runs with several seeds need it

    seeds = len(values)
    mean = values.mean(axis=0)
    if seeds < LEAST_SEEDS:
        return mean, np.full(len(mean), math.nan), np.full(len(mean), math.nan)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, seeds - 1)) * values.std(axis=0, ddof=1) / math.sqrt(seeds)
    return mean, mean - reach, mean + reach


def _config(run: RunData) -> dict[str, str] | None:
    """Dotted key -> value as JSON, without keys that don't change results; None if it can't be read."""
    try:
        text = read_config(run.path / "config.yaml")
    except UserError:
        return None
    return {key: json.dumps(value, default=str) for key, value in flat_config(text).items() if key not in HARMLESS_KEYS}


def _without_seeds(config: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in config.items() if not _is_seed(key)}


def _is_seed(key: str) -> bool:
    return key.rpartition(".")[2] == "seed"


def _labels(names: Sequence[Sequence[str]]) -> list[str]:
    """One label a group: the name of its only run, or what its names begin with; numbered where two are the same."""
    labels = []
    for number, members in enumerate(names, 1):
        start = _common_start(members)
        if len(members) > 1:
            start = re.sub(r"[\W_]+(?:seed|run|s)?[\W_]*$", "", start)
        label = visible(start) or f"configuration {number}"
        labels.append(label if label not in labels else f"{label} ({number})")
    return labels


def _common_start(names: Sequence[str]) -> str:
    low, high = min(names), max(names)
    return next((low[:index] for index in range(len(low)) if low[index] != high[index : index + 1]), low)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 4]} ..."
