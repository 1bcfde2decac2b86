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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.evidence.experiment import experiment_names, find_experiments
from echorl_vl.evidence.results import FOLDER, read_results
from echorl_vl.evidence.statistics import Interval, p_value
from echorl_vl.outputs import atomic

NOT_RUN = "not run yet"
_PLACE = re.compile(r"(<!-- evidence: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(results: Mapping[str, Mapping[str, Any]], plots: str | None = None) -> str:
    """The results of one experiment, by the names of their files; `NOT_RUN` where there is none.

    plots: the folder of the plots, as the document names it; None shows none.
    """
    return "\n".join(_one(name, result, plots) for name, result in results.items()) if results else f"{NOT_RUN}\n"


def report(out: Path) -> str:
    """All experiments, those without a result too. Raises UserError for a folder without any."""
    results = _found(out)
    return "\n".join(f"## {name}\n\n{markdown(_of(results, name))}" for name in experiment_names())


def fill(document: Path, out: Path) -> list[str]:
    """Copies the JSON of results beside a document, draws all plots anew, and puts the tables in their marked places.

    Results that an earlier call put beside the document count where `out` has none of the same experiment, task and
    settings; a place without any stays as it is. Returns the names of `out`'s experiments.

    Raises UserError for a document that can't be read, or without a place for a result, and for a result of fewer seeds
    than the one in the document.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--into {document}: can't be read ({error.strerror})") from error
    results = _found(out)
    experiments = list(dict.fromkeys(result["experiment"] for result in results.values()))
    places = [match[2] for match in _PLACE.finditer(text)]
    if missing := [name for name in experiments if name not in places]:
        raise UserError(f"{document}: has no place for {', '.join(missing)}; expected <!-- evidence: {missing[0]} -->")

    folder = document.with_suffix("")
    known = read_results(folder)
    for name, result in results.items():
        there = known.get(name, {"seeds": []})
        if len(there["seeds"]) > len(result["seeds"]):
            raise UserError(
                f"{name}: {out} has a result of {len(result['seeds'])} seed(s), {folder} one of "
                f"{len(there['seeds'])}; remove that one if it is to be replaced"
            )
        known[name] = result

    def filled(match: re.Match) -> str:
        own = _of(known, match[2])
        return f"{match[1]}{markdown(own, folder.name)}{match[3]}" if own else match[0]

    for name in results:
        atomic.write_text(folder / f"{name}.json", (out / FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    for name, result in known.items():
        find_experiments([result["experiment"]])[result["experiment"]].draw(result["raw"], folder / f"{name}.png")
    atomic.write_text(document, _PLACE.sub(filled, text))  # last: what it shows is there
    return experiments


def _of(results: Mapping[str, dict[str, Any]], experiment: str) -> dict[str, dict[str, Any]]:
    """Those of one experiment, by task."""
    own = {name: result for name, result in results.items() if result["experiment"] == experiment}
    return dict(sorted(own.items(), key=lambda item: (item[1]["task"], item[0])))


def _found(out: Path) -> dict[str, dict[str, Any]]:
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
            rows.append(f"| {contrast['name']} | {found} | {level} | {p_value(p)} | {verdict} |")
    head = ["| contrast | mean and interval | level | sign-flip p | verdict |", "|" + " --- |" * 5]
    return ["<details><summary>Every contrast</summary>", "", *head, *rows, "", "</details>", ""]


def _one(name: str, result: Mapping[str, Any], plots: str | None) -> str:
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
        lines += [f"![{name}]({plots}/{name}.png)", ""]
    return "\n".join(lines)
