"""One colour scale for entropies: in every figure and on the terminal, with its legend and a note on higher ones."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
from made_up_run import metric_rows, write_metrics, write_rollouts_of
from matplotlib.colors import to_rgb
from rich.console import Console

from echorl_vl.outputs import plots, show
from echorl_vl.outputs.entropy_scale import COLOURS, TOPS, EntropyScale
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_rollouts import HEAT, NO_ENTROPY, entropy_colour
from echorl_vl.outputs.rollout_files import read_rollouts


@pytest.mark.parametrize(
    ("values", "top", "above"),
    [
        ([], 0.05, 0),
        ([None, math.nan], 0.05, 0),
        ([0.01] * 99 + [3.0], 0.05, 1),
        ([0.3] * 200, 0.5, 0),
        ([0.5] * 50, 0.5, 0),
        ([0.51] * 50, 1.0, 0),
        ([100.0] * 3, 20.0, 3),
    ],
)
def test_the_top_is_a_fixed_one_at_or_above_the_99th_percentile(values, top, above):
    scale = EntropyScale.from_values(values)
    assert (scale.top, scale.above) == (top, above) and scale.top in TOPS


def test_the_note_counts_what_exceeds_the_scale():
    assert EntropyScale.from_values([0.1] * 4).note() == ""
    scale = EntropyScale.from_values([0.04] * 300 + [0.3, 0.7123])
    assert scale.note() == "2 of 302 steps are above 0.05 nats, up to 0.712"
    assert EntropyScale.from_values([0.04] * 300 + [0.3]).note() == "1 of 301 steps is above 0.05 nats, up to 0.3"


def test_equal_entropies_have_equal_colours_in_two_runs():
    one, other = EntropyScale.from_values([0.3] * 100), EntropyScale.from_values([0.45] * 100)
    assert entropy_colour(one, 0.2) == entropy_colour(other, 0.2)
    assert entropy_colour(one, 0.5) == entropy_colour(one, 9.0) == HEAT(1.0)
    assert entropy_colour(one, None) == entropy_colour(one, math.nan) == NO_ENTROPY


def test_lightness_falls_along_the_scale():
    lightness = [np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)) for colour in COLOURS]
    assert all(high > low for high, low in itertools.pairwise(lightness))


def test_every_figure_with_entropies_has_the_same_legend(tmp_path):
    write_metrics(tmp_path, metric_rows(3))
    rows = read_rollouts(write_rollouts_of(tmp_path, 3))
    scale = EntropyScale.from_rollouts(rows)
    figures = plots._figures(RunData.read(tmp_path), rows)
    for name in ("entropy.png", "examples.png", "summary.png"):
        axes_of = figures[name].axes
        (bar,) = (axes for axes in axes_of if "entropy of the step, nats" in (axes.get_xlabel(), axes.get_ylabel()))
        assert max(bar.get_xlim()[1], bar.get_ylim()[1]) == max(scale.top, 1.0), name
        texts = [text.get_text() for text in figures[name].texts]
        texts += [" ".join(text.get_text().split()) for axes in axes_of for text in axes.texts]
        assert any(scale.note() in text for text in texts), name


def test_the_terminal_has_the_same_scale(tmp_path):
    path = write_rollouts_of(tmp_path, 3)
    scale = EntropyScale.from_rollouts(read_rollouts(path))
    out = io.StringIO()
    assert show.main([str(path)], Console(file=out, width=100, color_system=None)) == 0
    assert f" {scale.top:g}" in out.getvalue().split("entropy of a reasoning step, nats")[1]
    assert scale.note() in out.getvalue()
