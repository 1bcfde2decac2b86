"""core stands alone: torch, the standard library, and nothing else of the package."""

from __future__ import annotations

import subprocess
import sys

import echorl_vl.core

SCRIPT = """
import sys
import torch
before = set(sys.modules)
import echorl_vl.core
new = {name for name in set(sys.modules) - before}
foreign = {
    name for name in new
    if name.partition(".")[0] not in sys.stdlib_module_names | {"torch", "echorl_vl"}
    or (name.startswith("echorl_vl.") and not name.startswith("echorl_vl.core"))
}
print(sorted(foreign))
"""


def test_import_brings_nothing_but_torch_and_core():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist():
    assert sorted(set(echorl_vl.core.__all__)) == sorted(echorl_vl.core.__all__)
    for name in echorl_vl.core.__all__:
        assert getattr(echorl_vl.core, name).__doc__ or name.isupper()
