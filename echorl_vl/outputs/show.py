"""Rollouts on the terminal: each reasoning step shaded by its entropy, the EchoClips marked.

echorl show RUN                                             the newest step
echorl show RUN --step 12 --only clips
echorl show RUN/rollouts/step_000012.parquet --group 3
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from echorl_vl.errors import UserError
from echorl_vl.outputs.command import command, make_parser, parse_arguments, positive
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files
from echorl_vl.outputs.terminal import visible

Row = dict[str, Any]

# From no entropy to the highest of the file; (background, ink).
SHADES = (
    ("#f4f1ea", "#1f2430"),
    ("#fbe9c8", "#1f2430"),
    ("#fbd99a", "#1f2430"),
    ("#f6b65f", "#1f2430"),
    ("#ec9150", "#1f2430"),
    ("#d9653c", "#ffffff"),
    ("#b93a32", "#ffffff"),
)
CLIP = "#2a8fd0"
FILTERS: dict[str, Callable[[Row], bool]] = {
    "clips": lambda row: bool(row["is_clip_source"]),
    "correct": lambda row: bool(row["verified"]),
    "incorrect": lambda row: row["verified"] is False,
    "truncated": lambda row: bool(row["truncated"]),
}
_OLD_FILTERS = {"right": "correct", "wrong": "incorrect"}


def find_file(path: str | Path, step: int | None = None, kind: str = "rollouts") -> Path:
    """The file of rollouts that is meant: `path` itself, or that of a step (the newest) in a run folder.

    Raises UserError, with the steps that are there, where there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    files = rollout_files(path, kind)
    if not files:
        raise UserError(f"{path / kind} holds no step_*.parquet: is {path} the folder of a run?")
    if step is None:
        return files[max(files)]
    if step not in files:
        raise UserError(f"{path / kind} has no step {step}; it has {', '.join(map(str, files))}")
    return files[step]


def select(rows: Sequence[Row], only: str | None, group: int | None, count: int) -> list[Row]:
    """At most `count` rows that pass the filter; without one the rows that clips come from are first."""
    chosen = [row for row in rows if (only is None or FILTERS[only](row)) and (group is None or row["group"] == group)]
    if only is None and group is None:
        chosen.sort(key=lambda row: not row["is_clip_source"])
    return chosen[:count]


def render(row: Row, highest: float) -> Group:
    """One rollout for a rich console. `highest` (nats) is the entropy of the darkest shade."""
    head = Text().append(f"{visible(row['uid'])}  ", style="bold")
    head.append("correct" if row["verified"] else "incorrect" if row["verified"] is False else "", style=_verdict(row))
    for name, value in row.items():
        if name.startswith("reward_") and value is not None:
            head.append(f"  {visible(name.removeprefix('reward_'))} {value:g}", style="dim")
    if row.get("expert"):
        head.append("  demonstration", style="cyan")
    if row["advantage"] is not None:
        head.append(f"  advantage {row['advantage']:+.2f}", style="dim")
    if row["truncated"]:
        head.append("  truncated", style="yellow")
    parts = [Rule(f"step {row['step']}, rollout {row['row']}, group {row['group']}", style="dim"), head]
    answer = Text(f"ground truth: {visible(row['answer'])}", style="dim")
    parts += [Text(visible(row["question"].strip())), answer, Text()]
    if row.get("hint"):
        parts.append(Padding(Text(f"hint: {visible(row['hint'].rstrip())}", style="cyan"), (0, 0, 0, 2)))
    if not row["step_texts"]:
        parts.append(Padding(Text(visible(row["response"])), (0, 0, 0, 2)))
    for number, (text, entropy) in enumerate(zip(row["step_texts"] or (), row["step_entropies"] or (), strict=True)):
        parts += _step(text, entropy, highest, number, row["clip_step"])
    if row["is_clip_source"]:
        share = f"{row['clip_tokens']} of {len(row['tokens'])} tokens"
        line = f"  └─ EchoClip: {share}, its last step has {row['clip_step_entropy']:.3f}"
        where = row["clip_step"] + 1 - len(row["step_texts"])  # from the end of `parts`, which the steps fill
        parts.insert(len(parts) + where, Text(f"{line} nats", style=f"bold {CLIP}"))
    return Group(*parts)


def _step(text: str, entropy: float | None, highest: float, number: int, clip_step: int | None) -> list[Text]:
    known = entropy is not None and math.isfinite(entropy)
    level = min(max(entropy / highest, 0.0), 1.0) if known and highest > 0 else 0.0
    background, ink = SHADES[round(level * (len(SHADES) - 1))]
    line = Text().append("  │ " if clip_step is not None and number <= clip_step else "    ", style=f"bold {CLIP}")
    line.append(f"{entropy:5.2f} " if known else "    - ", style="dim")
    line.append(" " + visible(text.strip("\n")).replace("\n", "\n           ") + " ", style=f"{ink} on {background}")
    return [line]


def _verdict(row: Row) -> str:
    return "bold green" if row["verified"] else "bold red"


@command
def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = make_parser("show", "echorl_vl.outputs.show", __doc__)
    parser.add_argument("path", metavar="RUN", help="run folder or parquet file")
    parser.add_argument("--step", type=int, help="training step; without it the newest")
    parser.add_argument(
        "--only",
        type=lambda word: _OLD_FILTERS.get(word, word),
        choices=sorted(FILTERS),
        help="show these rollouts only",
    )
    parser.add_argument("--group", type=int, help="show the rollouts of one prompt")
    parser.add_argument("--count", type=positive, metavar="N", default=6, help="at most so many (default 6)")
    parser.add_argument(
        "--validation", action="store_true", help="rollouts of the validation instead of those of training"
    )
    options = parse_arguments(parser, arguments)
    console = console or make_console()
    path = find_file(options.path, options.step, "validation" if options.validation else "rollouts")
    rows = read_rollouts(path)
    groups = sorted({row["group"] for row in rows})
    if options.group is not None and options.group not in groups:
        raise UserError(f"{path} has no group {options.group}; it has {', '.join(map(str, groups)) or 'none'}")
    entropies = sorted(e for row in rows for e in row["step_entropies"] or () if e is not None and math.isfinite(e))
    highest = entropies[int(0.98 * (len(entropies) - 1))] if entropies else 0.0
    selected = select(rows, options.only, options.group, options.count)
    for row in selected:
        console.print(render(row, highest))
    if not selected:
        console.print(f"none of the {len(rows)} rollouts matches" + (f" --only {options.only}" if options.only else ""))
    shade = Text("\nentropy of a reasoning step, nats:  0 ", style="dim")
    for background, _ in SHADES:
        shade.append("   ", style=f"on {background}")
    console.print(shade.append(f" {highest:.2f}    {visible(str(path))}", style="dim"), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
