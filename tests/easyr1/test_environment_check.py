"""`python -m echorl_vl.engines.check`: checks of the environment of an engine on Ray, without a run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from echorl_vl.engines import check
from echorl_vl.engines.easyr1.hooks import HOOKS
from echorl_vl.engines.ray import base, host


@pytest.mark.parametrize("engine", ["easyr1", "verl"])
def test_missing_engine_is_reported(engine, monkeypatch, capsys):
    monkeypatch.setattr(host, "_verl_folder", lambda: None)
    assert check.main([engine]) == 2
    assert ", got no package verl: pip install" in capsys.readouterr().err


def test_installed_packages_are_printed_before_missing_ones(monkeypatch, capsys):
    versions = {"verl": "0.3.3.dev0", "transformers": "5.2.0", "ray": "2.60.0"}.get
    monkeypatch.setattr(host.Host, "is_installed", lambda self: True)
    monkeypatch.setattr(host, "_verl_folder", lambda: "somewhere")
    for module in (base, host):
        monkeypatch.setattr(module, "installed_version", versions)
    assert check.main(["easyr1", "--cpu"]) == 2
    output = capsys.readouterr()
    assert output.out.startswith("EasyR1 0.3.3.dev0\n") and "transformers 5.2.0\n" in output.out
    assert "checked for a CPU dry run" in output.out and "tensordict is not installed" in output.out
    assert "needs transformers>=4.54,<5.20" not in output.err and "needs the package tensordict" in output.err
    assert "vllm" not in output.err


@pytest.mark.slow
def test_this_environment_is_ready(easyr1):
    process = subprocess.run(
        [sys.executable, "-m", "echorl_vl.engines.check", "easyr1", "--cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    assert process.stdout.startswith("EasyR1 ")
    assert f"all {len(HOOKS)} easyr1 classes, functions and attributes that the adapter uses exist" in process.stdout
