"""Rollouts on the terminal: each reasoning step coloured by its entropy, the EchoClips marked.

echorl show RUN                                             the newest step
echorl show RUN --step 12 --only clips
echorl show RUN/rollouts/step_000012.parquet --group 3
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from echorl_vl.answers.extract import final_answer
from echorl_vl.answers.grading import explain
from echorl_vl.errors import UserError
from echorl_vl.outputs.command import command, make_parser, parse_arguments, positive
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.entropy_scale import COLOURS, EntropyScale
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files
from echorl_vl.outputs.terminal import visible

Row = dict[str, Any]

INK, INK_ON_DARK, DARK_COLOURS = "#1f2430", "#ffffff", COLOURS[-2:]
CLIP = "#2a8fd0"
FILTERS: dict[str, Callable[[Row], bool]] = {
    "clips": lambda row: bool(row["is_clip_source"]),
    "correct": lambda row: bool(row["verified"]),
    "incorrect": lambda row: row["verified"] is False,
    "truncated": lambda row: bool(row["truncated"]),
}
_OLD_FILTERS = {"right": "correct", "wrong": "incorrect"}


def find_file(path: str | Path, step: int | None = None, kind: str = "rollouts") -> Path:
    """Finds a file of rollouts.

    Args:
        path: the file itself, or a run folder.
        step: the training step in a run folder; None for the newest.
        kind: the folder within the run folder, "rollouts" or "validation".

    Raises:
        UserError: there is no such file; names the steps that have one.
    """
    path = Path(path)
    if path.is_file():
        return path
    files = rollout_files(path, kind)
    if not path.exists():
        near = sorted(str(found) for found in Path().glob(f"*/{path.name}"))
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{path}: no such file or folder{hint}")
    if not files:
        raise UserError(f"{path / kind} has no step_*.parquet: is {path} a run folder?")
    if step is None:
        return files[max(files)]
    if step not in files:
        raise UserError(f"{path / kind} has no step {step}; it has {', '.join(map(str, files))}")
    return files[step]


def select(rows: Sequence[Row], only: str | None, group: int | None, count: int) -> list[Row]:
    """At most `count` rows that pass the filters; without a filter, sources of clips come first."""
    chosen = [row for row in rows if (only is None or FILTERS[only](row)) and (group is None or row["group"] == group)]
    if only is None and group is None:
        chosen.sort(key=lambda row: not row["is_clip_source"])
    return chosen[:count]


def render(row: Row, scale: EntropyScale) -> Group:
    """One rollout for a rich console."""
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
    parts += [Text(visible(row["question"].strip())), _answers(row), Text()]
    if row.get("hint"):
        parts.append(Padding(Text(f"hint: {visible(row['hint'].rstrip())}", style="cyan"), (0, 0, 0, 2)))
    if not row["step_texts"]:
        parts.append(Padding(Text(visible(row["response"])), (0, 0, 0, 2)))
    for number, (text, entropy) in enumerate(zip(row["step_texts"] or (), row["step_entropies"] or (), strict=True)):
        parts += _step(text, entropy, scale, number, row["clip_step"])
    if row["is_clip_source"]:
        share = f"{row['clip_tokens']} of {len(row['tokens'])} tokens"
        line = f"  └─ EchoClip: {share}, entropy of its last step {row['clip_step_entropy']:.3f}"
        where = row["clip_step"] + 1 - len(row["step_texts"])  # counted from the end of `parts`, the last step
        parts.insert(len(parts) + where, Text(f"{line} nats", style=f"bold {CLIP}"))
    return Group(*parts)


def _answers(row: Row) -> Text:
    """The ground truth and the answer of the response, with why it is correct or not."""
    text = Text(f"ground truth: {visible(row['answer'])}", style="dim")
    answer = final_answer(row["response"], row["truncated"])
    if not row["answer"] or answer is None:
        return text.append("\nno answer" if row["answer"] else "")
    verdict = explain(answer, row["answer"])
    text.append(f"\nanswer: {visible(answer)} ({visible(verdict.reason)}")
    if row["verified"] is not None and bool(row["verified"]) != verdict.correct:
        text.append("; the reward function says otherwise", style="yellow")
    return text.append(")")


def _step(text: str, entropy: float | None, scale: EntropyScale, number: int, clip_step: int | None) -> list[Text]:
    position = scale.position(entropy)
    background = COLOURS[round((position or 0.0) * (len(COLOURS) - 1))]
    ink = INK_ON_DARK if background in DARK_COLOURS else INK
    line = Text().append("  │ " if clip_step is not None and number <= clip_step else "    ", style=f"bold {CLIP}")
    line.append(f"{entropy:5.2f} " if position is not None else "    - ", style="dim")
    line.append(" " + visible(text.strip("\n")).replace("\n", "\n           ") + " ", style=f"{ink} on {background}")
    return [line]


def _verdict(row: Row) -> str:
    return "bold green" if row["verified"] else "bold red"


@command
def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = make_parser("show", "echorl_vl.outputs.show", __doc__)
    parser.add_argument("path", metavar="RUN", help="run folder or parquet file")
    parser.add_argument("--step", type=int, help="training step (default: the newest)")
    parser.add_argument(
        "--only",
        type=lambda word: _OLD_FILTERS.get(word, word),
        choices=sorted(FILTERS),
        help="show only these rollouts",
    )
    parser.add_argument("--group", type=int, help="show only the rollouts of this prompt")
    parser.add_argument("--count", type=positive, metavar="N", default=6, help="show at most N rollouts (default 6)")
    parser.add_argument("--validation", action="store_true", help="show validation rollouts instead of training ones")
    options = parse_arguments(parser, arguments)
    console = console or make_console()
    path = find_file(options.path, options.step, "validation" if options.validation else "rollouts")
    rows = read_rollouts(path)
    groups = sorted({row["group"] for row in rows})
    if options.group is not None and options.group not in groups:
        raise UserError(f"{path} has no group {options.group}; it has {', '.join(map(str, groups)) or 'none'}")
    scale = EntropyScale.from_rollouts(rows)
    selected = select(rows, options.only, options.group, options.count)
    for row in selected:
        console.print(render(row, scale))
    if not selected:
        console.print(f"none of the {len(rows)} rollouts matches" + (f" --only {options.only}" if options.only else ""))
    legend = Text("\nentropy of a reasoning step, nats:  0 ", style="dim")
    for background in COLOURS:
        legend.append("   ", style=f"on {background}")
    legend.append(f" {scale.top:g}{' and above' if scale.above else ''}", style="dim")
    if scale.note():
        legend.append(f"\n{scale.note()}", style="dim")
    console.print(legend.append(f"\n{visible(str(path))}", style="dim"), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
