"""Tables for the documentation: results as markdown, printed, or put in their marked places of a document.

    python -m eval.evidence report --out DIR                               prints them
    python -m eval.evidence report --out DIR --into docs/evidence.md       puts them in, and the raw numbers beside it

A place is what stands between `<!-- evidence: NAME -->` and `<!-- end -->`. The raw numbers and plots go to a folder of
the document's name, and what is there already stays unless DIR has a result of the same experiment and task: a document
can be filled from several folders, one after the other.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from eval.evidence.experiment import experiment_names, find_experiments
from eval.evidence.results import FOLDER, read_results
from eval.evidence.statistics import Interval, number

NOT_RUN = "not run yet"
_PLACE = re.compile(r"(<!-- evidence: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(results: Sequence[Mapping[str, Any]], plots: str | None = None) -> str:
    """The results of one experiment, a task after the other; `NOT_RUN` where there is none.

    plots: the folder of the plots, as the document names it; None shows none.
    """
    return "\n".join(_one(result, plots) for result in results) if results else f"{NOT_RUN}\n"


def report(out: Path) -> str:
    """All experiments, those without a result too. Raises UserError for a folder without any."""
    results = _found(out)
    parts = [
        f"## {name}\n\n{markdown([one for one in results if one['experiment'] == name])}" for name in experiment_names()
    ]
    return "\n".join(parts)


def fill(document: Path, out: Path) -> list[str]:
    """Puts the results into the marked places of a document, copies their JSON beside it and draws all plots anew.

    Results that an earlier call put beside the document count where `out` has none of the same experiment and task; a
    place without any stays as it is. Returns the names of `out`'s experiments. Raises UserError for a document that
    can't be read, or without a place for a result, and for a result of fewer seeds than the one in the document.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--into {document}: can't be read ({error.strerror})") from error
    results = _found(out)
    names = list(dict.fromkeys(result["experiment"] for result in results))
    places = [match[2] for match in _PLACE.finditer(text)]
    if missing := [name for name in names if name not in places]:
        raise UserError(f"{document}: has no place for {', '.join(missing)}; wanted <!-- evidence: {missing[0]} -->")

    folder = document.with_suffix("")
    known = {(result["experiment"], result["task"]): result for result in read_results(folder)}
    for result in results:
        there = known.get((result["experiment"], result["task"]), {"seeds": []})
        if len(there["seeds"]) > len(result["seeds"]):
            raise UserError(
                f"{result['experiment']}, {result['task']}: {out} has a result of {len(result['seeds'])} seed(s), "
                f"{folder} one of {len(there['seeds'])}; remove that one if it is to be replaced"
            )
        known[result["experiment"], result["task"]] = result

    def filled(match: re.Match) -> str:
        own = [result for (name, _), result in sorted(known.items()) if name == match[2]]
        return f"{match[1]}{markdown(own, folder.name)}{match[3]}" if own else match[0]

    atomic.write_text(document, _PLACE.sub(filled, text))
    folder.mkdir(exist_ok=True)
    for result in results:
        name = f"{result['experiment']}_{result['task']}.json"
        shutil.copyfile(out / FOLDER / name, folder / name)
    for (name, task), result in known.items():
        find_experiments([name])[name].draw(result["raw"], folder / f"{name}_{task}.png")
    return names


def _found(out: Path) -> list[dict[str, Any]]:
    results = read_results(out / FOLDER)
    if not results:
        raise UserError(f"{out}: no results in it; `python -m eval.evidence --out {out}` makes some")
    return results


def _contrasts(result: Mapping[str, Any]) -> list[str]:
    """Every contrast, folded up: those that the claim rests on, and those beside it."""
    rows = []
    for kind in ("claims", "others"):
        for contrast in result[kind]:
            values = [contrast[end] for end in ("mean", "low", "high")]
            found = Interval(*(math.nan if value is None else value for value in values))
            level = f"{100 - 5 / contrast['comparisons']:.1f} %"
            verdict = contrast["verdict"] if contrast["claimed"] else ""
            p = math.nan if contrast["sign_flip_p"] is None else contrast["sign_flip_p"]
            rows.append(f"| {contrast['name']} | {found} | {level} | {number(p)} | {verdict} |")
    head = ["| contrast | mean and interval | level | sign-flip p | verdict |", "|" + " --- |" * 5]
    return ["<details><summary>Every contrast</summary>", "", *head, *rows, "", "</details>", ""]


def _one(result: Mapping[str, Any], plots: str | None) -> str:
    columns, rows = result["table"]["columns"], result["table"]["rows"]
    seeds, minutes = result["seeds"], result["seconds"] / 60
    lines = [
        f"**{result['task']}**, {len(seeds)} seed{'' if len(seeds) == 1 else 's'}, {result['steps']} steps, "
        f"{minutes:.0f} minutes of runs in all:",
        "",
        f"    {result['command']}",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"*{result['sentence']}*",
        "",
        *_contrasts(result),
    ]
    if plots is not None:
        name = f"{result['experiment']}_{result['task']}"
        lines += [f"![{name}]({plots}/{name}.png)", ""]
    return "\n".join(lines)
