"""What a run came to, in a few numbers read back from its metrics.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from echorl_vl.outputs.tracker import read_metrics

EDGE = 5  # training steps averaged at the start and at the end

Row = tuple[str, str, str]


def summarize(run: Path) -> tuple[list[Row], dict[str, Any]]:
    """(rows of a table: name, before, after; the same numbers by name for summary.json).

    Held-out accuracy is that of the validation before training, where there was one, and of the last, with standard
    errors. What is measured in training is averaged over the first and the last `EDGE` steps. Numbers that the run
    didn't measure are left out.
    """
    metrics = read_metrics(run)
    rows: list[Row] = []
    facts: dict[str, Any] = {"steps": max((row["step"] for row in metrics), default=0)}
    validations = [row for row in metrics if row.get("val/accuracy_reward") is not None]
    if validations:
        trained = min((row["step"] for row in metrics if row.get("reward/accuracy") is not None), default=1)
        known = {"before": validations[0], "after": validations[-1]}
        if validations[0]["step"] >= trained:  # no validation came before the first training step
            del known["before"]
        before = _accuracy(known["before"]) if "before" in known else "-"
        rows.append(("held-out accuracy", before, _accuracy(known["after"])))
        for name, row in known.items():
            facts[f"val/accuracy_{name}"] = row["val/accuracy_reward"]
            facts[f"val/accuracy_se_{name}"] = row.get("val/accuracy_se")
    for title, key, form in (
        ("training accuracy", "reward/accuracy", "{:.1%}"),
        ("groups that all succeed", "group/all_success", "{:.1%}"),
        ("groups that all fail", "group/all_fail", "{:.1%}"),
        ("degenerate groups", "group/degenerate", "{:.1%}"),
        ("echo loss", "echo/loss", "{:.4f}"),
        ("echo clips a step", "echo/clips", "{:.1f}"),
        ("seconds a step", "timing_s/step", "{:.2f}"),
    ):
        if key == "reward/accuracy" and any("hint/tokens" in row for row in metrics):
            title = "training accuracy, hints included"
        values = [row[key] for row in metrics if row.get(key) is not None]
        if values:
            edge = max(1, min(EDGE, len(values) // 2))  # first and last never overlap
            before, after = _mean(values[:edge]), _mean(values[-edge:])
            rows.append((title, form.format(before), form.format(after)))
            facts[f"{key}_first"], facts[f"{key}_last"] = before, after
    return rows, facts


def _accuracy(row: dict[str, Any]) -> str:
    error = row.get("val/accuracy_se")
    return f"{row['val/accuracy_reward']:.1%}" + (f" ± {error:.1%}" if error is not None else "")


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
