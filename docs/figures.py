"""Draw docs/figures/clip.png, the rollouts of a prompt and their clip: `python docs/figures.py runs/geo3k_tiny`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matplotlib.patches import Rectangle

from echorl_vl.outputs.entropy_scale import EntropyScale
from echorl_vl.outputs.plot_rollouts import CORRECT, INCORRECT, entropy_colour, entropy_legend
from echorl_vl.outputs.plot_style import BLUE, INK, MUTED, new_figure, save, style
from echorl_vl.outputs.rollout_files import read_rollouts

OUT = Path(__file__).parent / "figures"
MOST = 6  # rollouts in the figure
WIDTH, LEFT, POINTS = 8.6, 1.05, 8.6  # inches, inches, points
CHARACTER = 0.605 * POINTS / 72  # inches


def rollouts(run: Path, step: int | None) -> list[dict[str, Any]]:
    files = sorted((run / "rollouts").glob("*.parquet"))
    file = next(file for file in reversed(files) if step is None or int(file.stem.rpartition("_")[2]) == step)
    return read_rollouts(file)


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


def draw(rows: list[dict[str, Any]], scale: EntropyScale, path: Path) -> None:
    """Draw one line per rollout and one box per step; long rollouts continue on the next line."""
    lines = [(row, line) for row in rows for line in _lines(row)]
    height = 0.36 * len(lines) + 0.12 * len(rows) + 1.3
    with style():
        figure = new_figure(WIDTH, height)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, WIDTH), ylim=(0, height))
        axes.set_axis_off()
        question = rows[0]["question"].replace("<image>", "").strip()
        axes.text(0.15, height - 0.3, f"{question}   Ground truth: {rows[0]['answer']}", fontsize=12, weight="bold")
        axes.text(0.15, height - 0.55, "Blue: the EchoClip", color=BLUE, fontsize=9.5, weight="bold")
        if scale.note():
            axes.text(1.6, height - 0.55, f"All rollouts of the step: {scale.note()}", color=MUTED, fontsize=9)
        y = height - 0.85
        for row in rows:
            verdict, colour = ("correct", CORRECT) if row["verified"] else ("incorrect", INCORRECT)
            axes.text(LEFT - 0.15, y - 0.16, verdict, ha="right", va="center", color=colour)
            for line in _lines(row):
                x = LEFT
                for number, text in line:
                    width = CHARACTER * (len(text) + 1.5)
                    entropy = row["step_entropies"][number]
                    ink = "white" if (scale.position(entropy) or 0.0) > 0.75 else INK
                    in_clip = row["is_clip_source"] and number <= row["clip_step"]
                    colour = entropy_colour(scale, entropy)
                    axes.add_patch(Rectangle((x, y - 0.3), width - 0.04, 0.28, facecolor=colour, linewidth=0))
                    if in_clip:
                        axes.plot([x, x + width - 0.04], [y - 0.33] * 2, color=BLUE, linewidth=2.5)
                    place = (x + width / 2 - 0.02, y - 0.16)
                    axes.text(*place, text, ha="center", va="center", family="monospace", fontsize=POINTS, color=ink)
                    x += width
                y -= 0.36
            y -= 0.12
        entropy_legend(figure, (0.72, 1 - 0.35 / height, 0.24, 0.12 / height), scale)
        save(figure, path)


def _lines(row: dict[str, Any]) -> list[list[tuple[int, str]]]:
    """Arrange the (number, text) of the steps in lines that fit the figure."""
    lines: list[list[tuple[int, str]]] = [[]]
    x = LEFT
    for number, text in enumerate(part.strip() for part in row["step_texts"]):
        width = CHARACTER * (len(text) + 1.5)
        if lines[-1] and x + width > WIDTH - 0.1:
            lines.append([])
            x = LEFT
        lines[-1].append((number, text))
        x += width
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--step", type=int, help="training step (default: the last saved one)")
    parser.add_argument("--group", type=int, help="group to draw (default: the first suitable one)")
    given = parser.parse_args()
    rows = rollouts(given.run, given.step)
    draw(shown(rows, given.group), EntropyScale.from_rollouts(rows), OUT / "clip.png")
    print(OUT / "clip.png")
