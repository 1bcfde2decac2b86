"""Results as markdown tables, printed or inserted into a document.

    python -m eval.evidence report --out DIR                               print the tables
    python -m eval.evidence report --out DIR --into docs/evidence.md       insert them, and copy the raw numbers

Tables go between `<!-- evidence: NAME -->` and `<!-- end -->`. Raw numbers and plots go to a folder with the document's
name. Results that are already there stay unless DIR has one of the same experiment and task, so that a document can be
filled from several folders.
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
    """Format the results of one experiment, or `NOT_RUN` if there are none.

    Args:
        results: the results by file name.
        plots: folder of the plots, relative to the document; None for no plots.
    """
    return "\n".join(_one(name, result, plots) for name, result in results.items()) if results else f"{NOT_RUN}\n"


def report(out: Path) -> str:
    """Format all experiments, also those without results. Raises UserError for a folder without any result."""
    results = _read(out)
    return "\n".join(f"## {name}\n\n{markdown(_select(results, name))}" for name in experiment_names())


def fill(document: Path, out: Path) -> list[str]:
    """Insert the results in `out` into a document, copy their JSON files next to it, and redraw all plots.

    Results from earlier calls are kept unless `out` has one of the same experiment, task and settings.

    Returns:
        The names of the experiments in `out`.

    Raises:
        UserError: the document can't be read or has no place for a result, or a result has fewer seeds than the one in
            the document.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--into {document}: can't be read ({error.strerror})") from error
    results = _read(out)
    experiments = list(dict.fromkeys(result["experiment"] for result in results.values()))
    places = [match[2] for match in _PLACE.finditer(text)]
    if missing := [name for name in experiments if name not in places]:
        raise UserError(f"{document}: no place for {', '.join(missing)}; expected <!-- evidence: {missing[0]} -->")

    folder = document.with_suffix("")
    known = read_results(folder)
    for name, result in results.items():
        there = known.get(name, {"seeds": []})
        if len(there["seeds"]) > len(result["seeds"]):
            raise UserError(
                f"{name}: expected a result of at least {len(there['seeds'])} seed(s) as in {folder}, got "
                f"{len(result['seeds'])} in {out}; to replace the larger result, remove it first"
            )
        known[name] = result

    def filled(match: re.Match) -> str:
        selected = _select(known, match[2])
        return f"{match[1]}{markdown(selected, folder.name)}{match[3]}" if selected else match[0]

    for name in results:
        atomic.write_text(folder / f"{name}.json", (out / FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    for name, result in known.items():
        find_experiments([result["experiment"]])[result["experiment"]].draw(result["raw"], folder / f"{name}.png")
    atomic.write_text(document, _PLACE.sub(filled, text))  # last, since it refers to the other files
    return experiments


def _select(results: Mapping[str, dict[str, Any]], experiment: str) -> dict[str, dict[str, Any]]:
    """Return the results of one experiment, sorted by task."""
    selected = {name: result for name, result in results.items() if result["experiment"] == experiment}
    return dict(sorted(selected.items(), key=lambda item: (item[1]["task"], item[0])))


def _read(out: Path) -> dict[str, dict[str, Any]]:
    results = read_results(out / FOLDER)
    if not results:
        raise UserError(f"{out}: no results; run `python -m eval.evidence --out {out}` first")
    return results


def _contrasts(result: Mapping[str, Any]) -> list[str]:
    """Format all contrasts as a collapsed table, those that decide the verdict first."""
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
        f"{minutes:.0f} minutes of runs in total:",
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
