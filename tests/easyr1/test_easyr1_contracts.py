"""Behaviour of EasyR1 and torch that the adapter relies on; a failure says what has changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ray_runs import REPOSITORY

SCRIPT = Path(__file__).with_name("contracts.py")
NAMES = re.findall(r"^    (\w+),$", SCRIPT.read_text(encoding="utf-8").partition("CONTRACTS = [")[2], re.MULTILINE)


@pytest.fixture(scope="module")
def faults(easyr1) -> dict[str, str]:
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    process = subprocess.run(
        [sys.executable, str(SCRIPT)], env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-3000:]
    return json.loads(process.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_contract_is_kept(faults, name):
    assert faults[name] == ""
