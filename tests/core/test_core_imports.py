"""Imports of core: only torch and the standard library."""

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


def test_core_imports_only_torch_and_the_standard_library():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_public_name_is_the_name_of_a_module():
    """Otherwise importing the module would replace the public name."""
    modules = {module.name for module in pkgutil.iter_modules(echorl_vl.core.__path__)}
    assert not modules & set(echorl_vl.core.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        echorl_vl.core.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("old", "new"),
    [("has_both_kinds", "has_positive_and_negative"), ("shaped_expert_loss", "shaped_off_policy_loss")],
)
def test_the_error_for_a_renamed_function_gives_the_new_name(old, new):
    assert new in echorl_vl.core.__all__
    with pytest.raises(ImportError, match=f"echorl_vl.core.{old} has been renamed to {new}"):
        getattr(echorl_vl.core, old)


def test_every_public_name_has_a_docstring():
    assert sorted(set(echorl_vl.core.__all__)) == sorted(echorl_vl.core.__all__)
    for name in echorl_vl.core.__all__:
        assert getattr(echorl_vl.core, name).__doc__ or name.isupper()
