"""Names of a host that an adapter relies on: what stops a run, and what an upgrade may add without stopping it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from echorl_vl.engines.ray.hooks import Hook, hook_faults, patched
from echorl_vl.errors import UserError


@pytest.fixture
def host(monkeypatch) -> ModuleType:
    module = ModuleType("made_up_host")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def faults(*hooks: Hook) -> str:
    return hook_faults(hooks, "made-up")


def called(*parameters: str) -> Hook:
    return Hook("made_up_host", "function", parameters, "to train")


@pytest.mark.parametrize(
    "function",
    [
        lambda batch, metrics: None,
        lambda batch, metrics, new=1: None,
        lambda batch, metrics, *more, new=1, **others: None,
    ],
)
def test_parameters_with_defaults_may_be_added(host, function):
    host.function = function
    assert faults(called("batch", "metrics"), called("*", "metrics", "batch"), called("batch", "*", "metrics")) == ""


@pytest.mark.parametrize(
    ("function", "by_place", "by_name"),
    [
        (lambda batch: None, "too many positional arguments", "got an unexpected keyword argument 'metrics'"),
        (lambda batch, metrics, new: None, "missing a required argument: 'new'", "missing a required argument: 'new'"),
        (lambda batch, metrics, *, new: None, "missing a required", "missing a required"),
        (lambda batch, numbers: None, "metrics is not where it was", "missing a required argument: 'numbers'"),
        (lambda metrics, batch: None, "batch is not where it was", None),
        (lambda batch, new=1, metrics=None: None, "metrics is not where it was", None),
        (lambda batch, **others: None, "too many positional arguments", "metrics is not where it was"),
        (lambda batch, *others: None, "metrics is not where it was", "unexpected keyword argument 'metrics'"),
    ],
)
def test_what_is_passed_has_to_be_taken_and_nothing_else_be_required(host, function, by_place, by_name):
    host.function = function
    for hook, wanted in ((called("batch", "metrics"), by_place), (called("*", "batch", "metrics"), by_name)):
        found = faults(hook)
        assert wanted in found and "used for: to train" in found if wanted else found == ""


def test_a_fault_names_the_hook_and_what_was_found(host):
    host.function = lambda numbers: None
    host.Class = type("Class", (), {"number": 1})
    found = faults(
        called("batch"),
        Hook("made_up_host", "Class.no_such_method", ("self",), "to encode"),
        Hook("made_up_host", "Class.number", ("self",), "to count"),
        Hook("made_up_host", "Class.number", None, "to look"),
        Hook("no_such_module", "name", None, "to fail"),
    )
    assert "made_up_host.function(batch): takes (numbers): batch is not where it was" in found
    assert "made_up_host.Class.no_such_method(self): not there\n    used for: to encode" in found
    assert "made_up_host.Class.number(self): not a function" in found and "to look" not in found
    assert "no_such_module.name: no_such_module can't be imported" in found


def test_a_package_that_the_host_lacks_is_named(host, monkeypatch, tmp_path):
    (tmp_path / "half_there.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="engine made-up: half_there needs no_such_package, which is not installed"):
        faults(Hook("half_there", "name", None, "to fail"))


def test_patched_names_come_back(host):
    host.kept = 1
    with pytest.raises(KeyError), patched(host, kept=2, added=3):
        assert (host.kept, host.added) == (2, 3)
        raise KeyError
    assert host.kept == 1 and not hasattr(host, "added")
