"""The error of the import if TRL is not installed."""

from __future__ import annotations

import sys

import pytest


def test_the_error_without_trl_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    for name in [name for name in sys.modules if name.startswith("echorl_vl.trl")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"echorl-vl\[trl\]"):
        import echorl_vl.trl  # noqa: F401
