"""Names of a host that an adapter uses: changes that stop a run, and changes that are allowed."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from echorl_vl.engines.ray.hooks import Hook, hook_faults, patched
from echorl_vl.errors import UserError


@pytest.fixture
def host(monkeypatch) -> ModuleType:
    module = ModuleType("fake_host")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def faults(*hooks: Hook) -> str:
    return hook_faults(hooks, "fake")


def called(*parameters: str) -> Hook:
    return Hook("fake_host", "function", parameters, "to train")


@pytest.mark.parametrize(
    "function",
    [
        lambda batch, metrics: None,
        lambda batch, metrics, new=1: None,
        lambda batch, metrics, *more, new=1, **others: None,
    ],
)
def test_host_may_add_parameters_with_defaults(host, function):
    host.function = function
    assert faults(called("batch", "metrics"), called("*", "metrics", "batch"), called("batch", "*", "metrics")) == ""


@pytest.mark.parametrize(
    ("function", "by_place", "by_name"),
    [
        (lambda batch: None, "too many positional arguments", "got an unexpected keyword argument 'metrics'"),
        (lambda batch, metrics, new: None, "missing a required argument: 'new'", "missing a required argument: 'new'"),
        (lambda batch, metrics, *, new: None, "missing a required", "missing a required"),
        (lambda batch, numbers: None, "metrics has moved", "missing a required argument: 'numbers'"),
        (lambda metrics, batch: None, "batch has moved", None),
        (lambda batch, new=1, metrics=None: None, "metrics has moved", None),
        (lambda batch, **others: None, "too many positional arguments", "metrics has moved"),
        (lambda batch, *others: None, "metrics has moved", "unexpected keyword argument 'metrics'"),
    ],
)
def test_changed_parameters_are_a_fault(host, function, by_place, by_name):
    host.function = function
    for hook, expected in ((called("batch", "metrics"), by_place), (called("*", "batch", "metrics"), by_name)):
        found = faults(hook)
        assert expected in found and "used for: to train" in found if expected else found == ""


def test_fault_names_the_hook_and_the_difference(host):
    host.function = lambda numbers: None
    host.Class = type("Class", (), {"number": 1})
    found = faults(
        called("batch"),
        Hook("fake_host", "Class.no_such_method", ("self",), "to encode"),
        Hook("fake_host", "Class.number", ("self",), "to count"),
        Hook("fake_host", "Class.number", None, "to look"),
        Hook("no_such_module", "name", None, "to fail"),
    )
    assert "fake_host.function(batch): got parameters (numbers): batch has moved" in found
    assert "fake_host.Class.no_such_method(self): does not exist\n    used for: to encode" in found
    assert "fake_host.Class.number(self): is not a function" in found and "to look" not in found
    assert "no_such_module.name: no_such_module can't be imported" in found


def test_missing_package_of_the_host_is_named(host, monkeypatch, tmp_path):
    (tmp_path / "half_there.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="engine fake: half_there needs no_such_package, which is not installed"):
        faults(Hook("half_there", "name", None, "to fail"))


def test_patched_names_are_restored(host):
    host.kept = 1
    with pytest.raises(KeyError), patched(host, kept=2, added=3):
        assert (host.kept, host.added) == (2, 3)
        raise KeyError
    assert host.kept == 1 and not hasattr(host, "added")
