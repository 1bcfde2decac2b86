"""core stands alone: torch, the standard library, and nothing else of the package."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import echorl_vl.core

SCRIPT = """
import sys
import torch
before = set(sys.modules)
from echorl_vl.core import *
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


def test_no_public_name_is_a_module_s():
    """Importing the module would put it in the place of the name."""
    modules = {module.name for module in pkgutil.iter_modules(echorl_vl.core.__path__)}
    assert not modules & set(echorl_vl.core.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        echorl_vl.core.no_such_name  # noqa: B018


def test_a_name_of_an_earlier_version_names_the_new_one():
    with pytest.raises(ImportError, match="has_both_kinds is called has_positive_and_negative now"):
        from echorl_vl.core import has_both_kinds  # noqa: F401


def test_public_names_exist():
    assert sorted(set(echorl_vl.core.__all__)) == sorted(echorl_vl.core.__all__)
    for name in echorl_vl.core.__all__:
        assert getattr(echorl_vl.core, name).__doc__ or name.isupper()
