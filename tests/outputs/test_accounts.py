"""A logger without an account is an error at the start of a run. If wandb is installed, it is tested itself."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from echorl_vl.errors import UserError
from echorl_vl.outputs.accounts import check_account
from echorl_vl.outputs.tracker import check_loggers

NETRC = "machine {} login user password 0123456789012345678901234567890123456789\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, without a variable of either service."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "SWANLAB_")) or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def wandb(home: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Settings of a fake wandb module."""
    settings = SimpleNamespace(mode="online", api_key=None, base_url="https://api.wandb.ai")
    module = SimpleNamespace(setup=lambda: SimpleNamespace(settings=settings), __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "wandb", module)
    return settings


def test_the_error_without_a_wandb_account_names_three_ways_out(wandb: SimpleNamespace) -> None:
    with pytest.raises(UserError) as caught:
        check_loggers(["console", "wandb"])
    for way in ("wandb login", "WANDB_API_KEY", "WANDB_MODE=offline", "leave wandb out of trainer.logger"):
        assert way in str(caught.value)


@pytest.mark.parametrize("setting", [{"mode": "offline"}, {"mode": "disabled"}, {"api_key": "0" * 40}])
def test_wandb_s_settings_are_enough(wandb: SimpleNamespace, setting: dict[str, str]) -> None:
    wandb.__dict__.update(setting)
    check_account("wandb")


def test_a_login_to_wandb_is_in_netrc_under_its_host(wandb: SimpleNamespace, home: Path) -> None:
    (home / ".netrc").write_text(NETRC.format("elsewhere.org"))
    with pytest.raises(UserError, match="no account"):
        check_account("wandb")
    (home / ".netrc").write_text(NETRC.format("api.wandb.ai"))
    check_account("wandb")
    wandb.base_url = "https://api.forge.coreweave.com"
    check_account("wandb")
    wandb.base_url = "https://wandb.company.org"
    with pytest.raises(UserError, match="no account"):
        check_account("wandb")
    (home / ".netrc").write_text(NETRC.format("wandb.company.org"))
    check_account("wandb")


def test_swanlab_s_account(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"swanlab login.*SWANLAB_MODE=offline"):
        check_account("swanlab")
    monkeypatch.setenv("SWANLAB_MODE", "local")
    check_account("swanlab")
    monkeypatch.delenv("SWANLAB_MODE")
    (home / ".swanlab").mkdir()
    (home / ".swanlab" / ".netrc").write_text(NETRC.format("api.swanlab.cn"))
    check_account("swanlab")


def test_loggers_without_accounts_pass(home: Path) -> None:
    for name in ("console", "file", "tensorboard", "mlflow"):
        check_account(name)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed here: pip install 'echorl-vl[wandb]'")
@pytest.mark.parametrize(
    ("environment", "passes"), [({}, False), ({"WANDB_MODE": "offline"}, True), ({"WANDB_API_KEY": "0" * 40}, True)]
)
def test_the_real_wandb(home: Path, environment: dict[str, str], passes: bool) -> None:
    code = "from echorl_vl.outputs.accounts import check_account; check_account('wandb'); print('passes')"
    process = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=120
    )
    assert ("passes" in process.stdout) == passes
    assert passes or "has no account here" in process.stderr
