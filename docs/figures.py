"""Draw docs/figures/clip.png, the rollouts of a prompt and their clip: `python docs/figures.py runs/geo3k_tiny`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pyarrow.parquet as pq
from matplotlib.patches import Rectangle

OUT = Path(__file__).parent / "figures"
MOST = 6  # rollouts in the figure


def rollouts(run: Path, step: int | None) -> list[dict[str, Any]]:
    files = sorted((run / "rollouts").glob("*.parquet"))
    file = next(file for file in reversed(files) if step is None or int(file.stem.rpartition("_")[2]) == step)
    return pq.read_table(file).to_pylist()


def shown(rows: list[dict[str, Any]], group: int | None) -> list[dict[str, Any]]:
    """Return up to `MOST` rollouts of a group: the one with the clip, then other correct and incorrect ones.

    The default group has correct and incorrect rollouts, and a clip that ends between its first and its last step.
    """
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    for number, members in groups.items():
        source = [row for row in members if row["is_clip_source"]]
        kinds = {row["verified"] for row in members}
        middle = source and 0 < source[0]["clip_step"] < len(source[0]["step_texts"]) - 1
        if number == group or (group is None and len(kinds) == 2 and middle):
            rest = [row for row in members if not row["is_clip_source"]]
            seen = {source[0]["response"]} if source else set()
            repeats = [row["response"] in seen or seen.add(row["response"]) for row in rest]
            order = sorted(range(len(rest)), key=lambda index: (bool(repeats[index]), not rest[index]["verified"]))
            chosen = sorted(order[: MOST - len(source)], key=lambda index: not rest[index]["verified"])
            return source + [rest[index] for index in chosen]
    raise SystemExit("no group has correct rollouts, incorrect rollouts and a clip that ends before the last step")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9})
    most = max(entropy for row in rows for entropy in row["step_entropies"])
    width = max(sum(len(text.strip()) + 3 for text in row["step_texts"]) for row in rows)
    figure, axes = plt.subplots(figsize=(0.085 * (width + 12), 0.5 * len(rows) + 1.3))
    colors = matplotlib.colormaps["YlOrRd"]
    for y, row in enumerate(rows):
        x = 0.0
        for number, (text, entropy) in enumerate(zip(row["step_texts"], row["step_entropies"], strict=True)):
            size = len(text.strip()) + 3
            axes.add_patch(Rectangle((x, y), size - 0.4, 0.72, color=colors(0.75 * entropy / most), lw=0))
            axes.text(
                x + size / 2 - 0.2, y + 0.36, text.strip(), ha="center", va="center", family="monospace", size=7.5
            )
            x += size
            if row["is_clip_source"] and number == row["clip_step"]:
                axes.add_patch(Rectangle((-0.4, y - 0.08), x, 0.88, fill=False, ec="#0b5394", lw=2))
        mark, color = ("correct", "#1a7f37") if row["verified"] else ("incorrect", "#b42318")
        axes.text(-1.5, y + 0.36, mark, ha="right", va="center", color=color)
    axes.set(xlim=(-12, width + 1), ylim=(len(rows), -0.3))
    axes.axis("off")
    question = rows[0]["question"].replace("<image>", "").strip()
    axes.set_title(f"{question}   ground truth: {rows[0]['answer']}", loc="left", size=11)
    scale = plt.cm.ScalarMappable(cmap=colors.resampled(256), norm=plt.Normalize(0, most / 0.75))
    bar = figure.colorbar(scale, ax=axes, orientation="horizontal", fraction=0.05, pad=0.03, aspect=60)
    bar.set_label("mean entropy of the step, nats; blue: the EchoClip")
    bar.ax.set_xlim(0, most)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--step", type=int, help="training step (default: the last saved one)")
    parser.add_argument("--group", type=int, help="group to draw (default: the first suitable one)")
    given = parser.parse_args()
    draw(shown(rollouts(given.run, given.step), given.group), OUT / "clip.png")
    print(OUT / "clip.png")
