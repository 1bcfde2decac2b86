"""Foreign text is shown and never interpreted, on the terminal and in plots; every console can show our output."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_run import metric_rows, write_metrics, write_rollouts_of
from matplotlib.text import Text
from rich.console import Console

from echorl_vl import init, train
from echorl_vl.evaluation import compare
from echorl_vl.evaluation import run as evaluation
from echorl_vl.evidence import __main__ as evidence
from echorl_vl.generators.geometry3k import convert, generate
from echorl_vl.outputs import plot_compare, plots, show
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.log import set_up_logging
from echorl_vl.outputs.plot_examples import examples_figure
from echorl_vl.outputs.plot_rollouts import entropy_figure
from echorl_vl.outputs.rollout_files import read_rollouts
from echorl_vl.outputs.terminal import visible

REPOSITORY = Path(__file__).resolve().parents[2]

HOSTILE = {
    "clear the screen": ("\x1b[2J", "\\x1b[2J"),
    "set the title": ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    "link": ("\x1b]8;;http://x\x1b\\x\x1b]8;;\x1b\\", "\\x1b]8;;http://x\\x1b\\x\\x1b]8;;\\x1b\\"),
    "C1 sequence": ("\x9b2J\x85", "\\x9b2J\\x85"),
    "overwrite": ("wrong\rright\x08\x08", "wrong\\x0dright\\x08\\x08"),
    "feeds and a null": ("\x0b\x0c\x00\x7f", "\\x0b\\x0c\\x00\\x7f"),
    "bidirectional": ("\u202eevil\u2066x\u2069", "\\u202eevil\\u2066x\\u2069"),
    "zero-width": ("a\u200bb\u200d\ufeff\u2060\u00ad", "a\\u200bb\\u200d\\ufeff\\u2060\\xad"),
    "line separators": ("\u2028\u2029", "\\u2028\\u2029"),
    "fillers": ("\u3164\u115f\u034f\U000e0101\U000e0041", "\\u3164\\u115f\\u034f\\U000e0101\\U000e0041"),
    "surrogate": ("\udcff", "\\udcff"),
}
ALL = "".join(text for text, _ in HOSTILE.values())


def hidden(text: str) -> list[str]:
    """Characters that a terminal would interpret or hide, except newlines."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [char for char in text if char != "\n" and (unicodedata.category(char) in kinds or char in "\u3164\u115f")]


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE.keys())
def test_control_and_hidden_characters_are_escaped(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_ordinary_text_stays():
    for text in ("plain \\frac{1}{2}\n\tx", "naïve 求面积 \u0627\u0644 😀 ✔\ufe0f e\u0301 \u00a0"):
        assert visible(text) == text


def rollouts_with(text: str, run: Path) -> Path:
    """A file of rollouts; `text` is appended to all of their texts."""
    path = write_rollouts_of(run, 3, prompts=2, n=2)
    rows = read_rollouts(path)
    for row in rows:
        row |= {name: row[name] + text for name in ("uid", "question", "answer", "hint", "response")}
        row["step_texts"] = [step + text for step in row["step_texts"]]
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    return path


def hostile_rollouts(run: Path) -> Path:
    return rollouts_with(ALL.replace("\udcff", "") + "[bold]markup[/] [link=http://x]x[/link]", run)


def test_control_characters_in_rollouts_are_shown(tmp_path):
    path = hostile_rollouts(tmp_path)
    out = io.StringIO()
    assert show.main([str(path)], Console(file=out, width=200, color_system=None)) == 0
    assert not hidden(out.getvalue())
    for part in ("\\x1b[2J", "\\x9b2J", "\\u202e", "\\u200b", "\\x07", "\\x0d", "[link=http://x]x[/link]"):
        assert out.getvalue().count(part) > 4, part


def test_control_characters_in_plots_are_shown(tmp_path):
    rows = read_rollouts(hostile_rollouts(tmp_path))
    texts = [text.get_text() for draw in (examples_figure, entropy_figure) for text in draw(rows).findobj(Text)]
    assert not [char for text in texts for char in hidden(text)]
    assert sum("\\u202e" in text for text in texts) > 4
    named = tmp_path / "run\x1b[2J"
    write_metrics(named, metric_rows(3))
    assert plot_compare.short_names([plots.RunData.read(named)]) == ["run\\x1b[2J"]


def test_notes_paths_and_tables_of_a_training(tmp_path, capsys, monkeypatch):
    set_up_logging()
    monkeypatch.setattr(logging.getLogger("echorl_vl"), "propagate", False)  # pytest's reports can't hold surrogates
    out = io.StringIO()
    for terminal in (False, True):
        console = make_console(file=out, force_terminal=terminal, width=150, color_system=None)
        with Display(2, plain=True, console=console) as display:
            logging.getLogger("echorl_vl.outputs").warning(f"reward raised {ALL}")
            display.summary([("name" + ALL, "1", "2")], [tmp_path / "run\x1b[2J"])
        console.print("[link=http://x]note[/link] " + ALL)
    noted = capsys.readouterr().err
    assert not hidden(out.getvalue() + noted)
    assert (out.getvalue().count("\\x1b[2J"), noted.count("\\x1b[2J")) == (6, 2)
    assert "[link=http://x]note[/link]" in out.getvalue()


MAINS = {
    "train": (train.main, ["{bad}.yaml"]),
    "init": (init.main, ["{bad}"]),
    "show": (show.main, ["{bad}"]),
    "plots": (plots.main, ["{bad}"]),
    "echorl_vl.evaluation.compare": (compare.main, ["{bad}", "{bad}"]),
    "echorl_vl.evaluation.run": (evaluation.main, ["--model", "m", "--bench", "{bad}", "--out", "{bad}"]),
    "echorl_vl.evidence": (evidence.main, ["{bad}", "--out", "{bad}"]),
    "echorl_vl.generators.geometry3k.convert": (convert.main, ["{bad}", "--out", "{bad}.parquet"]),
    "echorl_vl.generators.geometry3k.generate": (generate.main, ["--out", "{bad}"]),
}


@pytest.mark.parametrize(("main", "arguments"), MAINS.values(), ids=MAINS.keys())
def test_control_characters_in_error_lines_are_shown(main, arguments, tmp_path, capsys):
    bad = str(tmp_path / "x\x1b[2J\x1b]0;t\x07\u202e\x9b")
    try:
        assert main([argument.format(bad=bad) for argument in arguments]) == 2
    except SystemExit as stop:  # raised by argparse
        assert stop.code == 2
    error = capsys.readouterr().err
    assert "x\\x1b[2J\\x1b]0;t\\x07\\u202e\\x9b" in error.replace("\\\\", "\\")
    assert not hidden(error)


def test_there_is_one_place_for_error_lines_and_one_for_consoles():
    """Another `print` of an error, or another rich console, would not escape its text."""
    sources = [path for room in ("echorl_vl", "eval", "geometry3k") for path in (REPOSITORY / room).rglob("*.py")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in sources}
    assert [name for name, text in texts.items() if 'print(f"error' in text] == ["terminal.py"]
    assert not [name for name, text in texts.items() if re.search(r"(?<!\w)Console\(", text)]


COMMANDS = """
import logging, sys
from pathlib import Path
from echorl_vl import init, train
from echorl_vl.outputs import plot_compare, plots, show
from echorl_vl.outputs.display import Display
from echorl_vl.evaluation import run as evaluation
from echorl_vl.evaluation.console import wide_console
folder = Path(sys.argv[1])
assert train.main(["--help-all"]) == 0
assert train.main(["no such file \\u6c42.yaml"]) == 2
assert show.main([str(folder)]) == 0
assert plots.main([str(folder)]) == 0
assert evaluation.main(["--list"]) == 0
for plain in (True, False):
    with Display(2, plain=plain) as display:
        logging.getLogger("echorl_vl").info("\\u6c42 \\u00b1 \\u2022")
        display.step(0, {"val/accuracy_reward": 0.5, "val/accuracy_se": 0.1})
        display.step(1, {"reward/accuracy": 0.5})
        display.summary([("accuracy", "1 \\u00b1 2", "3")], ["\\u6c42"])
wide_console().print("41.2 \\u00b1 2.3 %")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("poor", "sign"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"+-"),
        ({"PYTHONIOENCODING": "latin-1"}, "±".encode("latin-1")),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, b"+-"),
        ({"LANG": "C", "LC_ALL": "C"}, "±".encode()),
    ],
    ids=["ascii", "latin-1", "C", "C that Python takes for UTF-8"],
)
def test_a_console_that_lacks_characters(poor, sign, tmp_path):
    write_metrics(tmp_path, metric_rows(3))
    rollouts_with("求 é \u2713", tmp_path)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    environment |= {"PYTHONPATH": str(REPOSITORY), **poor}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(tmp_path)], env=environment, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    assert b"Traceback" not in done.stderr
    assert b"41.2 " + sign + b" 2.3 %" in done.stdout
