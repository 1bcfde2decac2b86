"""Tables of results on terminals of different widths."""

from __future__ import annotations

import io

import pytest
from test_eval_compare import write

from echorl_vl.evaluation import compare, report
from echorl_vl.evaluation.console import show_table
from echorl_vl.outputs.console import make_console


def shown(width: int, draw) -> list[str]:
    out = io.StringIO()
    draw(make_console(file=out, width=width, color_system=None, force_terminal=True))
    return out.getvalue().splitlines()


@pytest.fixture
def comparisons(tmp_path):
    for folder, every in (("a", 3), ("b", 2)):
        for name in ("mathvision_test", "olympiadbench"):
            write(tmp_path / folder, name, [[index % every == 0] for index in range(60)], partial="60 of 300")
    return compare.compare(tmp_path / "a", tmp_path / "b")[0]


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_comparison_fits_the_terminal(comparisons, width):
    lines = shown(width, lambda console: compare.show(comparisons, [], 0, console))
    until = next(index for index, line in enumerate(lines) if line.startswith("each verdict is at the 5 % level"))
    table = lines[:until]
    assert max(map(len, table)) <= width
    text = "\n".join(table)
    assert "…" not in text and text.count("(PARTIAL)") == 3
    for one in (comparison.difference for comparison in comparisons):
        interval = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
        for cell in ("33.3 %", "50.0 %", "+16.7", interval, one.verdict):
            assert cell in text  # not broken over lines
    assert ("wins = 20" in text and "P(B <= A) = 0." in text) == (width < 125)


def test_the_result_of_a_run_fits_the_terminal():
    metrics = {
        "accuracy": 0.412,
        "standard_error": 0.023,
        "truncated": 0.5,
        "no_answer": 0.25,
        "response_tokens": 812.0,
    }
    metrics |= {"pass@32": 0.75, "majority@32": 0.5}
    result = {"benchmark": "olympiadbench", "partial": "part", "questions": 24, "size": 675, "metrics": metrics}
    row = report.row_of(result | {"settings": {"samples": 32}})
    for width in (60, 80, 160):
        lines = shown(width, lambda console: show_table(console, report.HEADS, [row]))
        text = "\n".join(lines)
        assert max(map(len, lines)) <= width and "…" not in text
        assert all(cell in text for cell in row)


def test_empty_values_are_left_out_of_a_narrow_table():
    lines = shown(20, lambda console: show_table(console, ("", "first", "second"), [("name", "", "x" * 12)]))
    assert lines == ["name", "  second = " + "x" * 12]
