"""Which host framework is installed, in which version and with which packages, found without importing it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from echorl_vl.engines.easyr1.hooks import HOST as EASYR1
from echorl_vl.engines.ray import host as module
from echorl_vl.engines.ray.hooks import Hook
from echorl_vl.engines.verl.hooks import HOST as VERL
from echorl_vl.errors import UserError

BOTH = pytest.mark.parametrize("host", [EASYR1, VERL], ids=lambda host: host.name)

GOOD = {
    "EasyR1": {
        "transformers": "4.57.6", "omegaconf": "2.3.1", "vllm": "0.11.0", "flash-attn": "2.8.3", "ray": "2.60.0",
        "tensordict": "0.10.0", "torchdata": "0.11.0", "codetiming": "1.4", "einops": "0.8", "peft": "0.17",
        "accelerate": "1.10",
    },
    "verl": {
        "transformers": "5.10.4", "tensordict": "0.10.0", "TransferQueue": "0.1.11", "ray": "2.60.0",
        "hydra-core": "1.3.8", "vllm": "0.24.0",
    },
}  # fmt: skip
"""By host: package -> a version that works."""


def issues(host, found: dict[str, str | None], cpu: bool = False) -> list[str]:
    return [issue.message for issue in host.version_issues(cpu, found.get)]


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """The empty folder of a package `verl`."""
    monkeypatch.setattr(module, "_verl_folder", lambda: tmp_path)
    monkeypatch.setattr(module, "installed_version", {"verl": "1.2.3"}.get)
    return tmp_path


def make(package: Path, host) -> None:
    (package / host.marker).parent.mkdir(parents=True, exist_ok=True)
    (package / host.marker).write_text("")


@pytest.mark.parametrize(("host", "other"), [(EASYR1, VERL), (VERL, EASYR1)], ids=["EasyR1", "verl"])
def test_hosts_are_distinguished_by_their_modules(package, host, other):
    make(package, other)
    assert not host.is_installed() and host.found() == "another package verl 1.2.3"
    with pytest.raises(UserError) as caught:
        host.check_installed()
    assert str(caught.value).startswith(f"engine {host.engine}: expected {host.name} ")
    expected = f"{host.measured}, got another package verl 1.2.3: {host.install} into a separate environment"
    assert expected in str(caught.value)
    make(package, host)
    host.check_installed()
    assert host.found() == f"{host.name} 1.2.3"


@BOTH
def test_missing_package_verl_is_reported(host, monkeypatch):
    monkeypatch.setattr(module, "_verl_folder", lambda: None)
    with pytest.raises(UserError, match=rf"engine {host.engine}: expected {host.name} 0\.\d.*, got no package verl: "):
        host.check_installed()


@BOTH
def test_package_of_this_environment_is_found(host):
    """If it has one."""
    try:
        version = importlib.metadata.version("verl")
    except importlib.metadata.PackageNotFoundError:
        version = None
    assert host.found() == "no package verl" if version is None else host.found().endswith(f" {version}")


@BOTH
def test_changed_hook_is_reported_with_both_versions(package, host):
    make(package, host)
    changed = Hook("json", "dumps", ("obj", "speed"), "to write")
    with pytest.raises(UserError) as caught:
        host.check_hooks((changed,))
    expected = f"engine {host.engine}: expected {host.name} {host.measured}, got {host.name} 1.2.3, which differs"
    assert str(caught.value).startswith(expected) and host.install in str(caught.value)
    assert "json.dumps(obj, speed): got parameters (obj, skipkeys" in str(caught.value)
    host.check_hooks((Hook("json", "JSONEncoder.encode", ("self", "o"), "to encode"),))


@BOTH
def test_tested_versions_are_accepted(host):
    assert issues(host, GOOD[host.name]) == []
    gpu_only = {name: None for name, package in host.packages.items() if package.gpu_only}
    assert gpu_only and issues(host, GOOD[host.name] | gpu_only, cpu=True) == []


@pytest.mark.parametrize(
    ("host", "package", "version", "message"),
    [
        (EASYR1, "transformers", "5.2.0", "needs transformers>=4.54,<5 (EasyR1's model code); got 5.2.0"),
        (EASYR1, "transformers", "4.53.0", "got 4.53.0"),
        (EASYR1, "omegaconf", "2.4.0", "needs omegaconf>=2.1,<2.4"),
        (EASYR1, "vllm", "0.12.0", "needs vllm>=0.8,<0.12"),
        (EASYR1, "vllm", None, "vllm>=0.8,<0.12 (EasyR1's rollouts; 0.12 drops names that it uses), which is not "),
        (EASYR1, "flash-attn", None, "needs flash-attn>=2.4.3"),
        (EASYR1, "ray", None, "needs the package ray, which is not installed"),
        (VERL, "transformers", "5.11.0", "transformers>=5.5.3,<5.11,!=5.6.0 (verl's model code); got 5.11.0"),
        (VERL, "transformers", "5.6.0", "got 5.6.0"),
        (VERL, "tensordict", "0.9.0", "got 0.9.0"),
        (VERL, "TransferQueue", None, "it comes with verl[verl-core]), which is not installed"),
        (VERL, "vllm", None, "it comes with verl[vllm]), which is not installed"),
    ],
)
def test_other_versions_are_refused(host, package, version, message):
    (found,) = issues(host, {**GOOD[host.name], package: version})
    assert found.startswith(f"engine {host.engine} needs ") and message in found


def test_cpu_dry_run_accepts_other_versions():
    newer = {**GOOD["EasyR1"], "transformers": "5.16.1"}
    assert issues(EASYR1, newer, cpu=True) == [] and len(issues(EASYR1, newer)) == 1


def test_invalid_version_is_accepted():
    assert issues(EASYR1, {**GOOD["EasyR1"], "transformers": "main"}) == []
