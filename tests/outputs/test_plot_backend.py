"""Plots can be drawn in a notebook: our modules choose no backend and leave pyplot's figures alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_run import metric_rows, write_metrics, write_rollouts_of

REPOSITORY = Path(__file__).resolve().parents[2]

CODE = """
import sys
import matplotlib
matplotlib.use("svg")
before = dict(matplotlib.rcParams)
from echorl_vl.outputs import plot_compare, plot_curves, plot_echo, plot_examples, plot_panels, plot_rollouts, plots
from echorl_vl.evidence import plots as evidence_plots
assert "matplotlib.pyplot" not in sys.modules
written = plots.write_plots(sys.argv[1])
written += plot_compare.compare([sys.argv[1]], sys.argv[1] + "/together")
assert len(written) == 11, written
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.get_backend() == "svg"
assert dict(matplotlib.rcParams) == before
"""


@pytest.mark.slow
def test_plots_leave_backend_settings_and_pyplot_alone(tmp_path):
    write_metrics(tmp_path, metric_rows(3))
    write_rollouts_of(tmp_path, 3, prompts=1, n=2, seed=2)
    done = subprocess.run([sys.executable, "-c", CODE, tmp_path], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_module_of_the_package_sets_a_backend_or_uses_pyplot():
    forbidden = re.compile(r"matplotlib\.use\(|(?:import|from) matplotlib\.pyplot")
    modules = (REPOSITORY / "echorl_vl").rglob("*.py")
    assert [path for path in modules if forbidden.search(path.read_text(encoding="utf-8"))] == []
