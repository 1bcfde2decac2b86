"""Checks that wandb and swanlab have an account to log to: without one they would stop a run that has started."""

from __future__ import annotations

import importlib
import netrc
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from echorl_vl.errors import UserError

_CLOUD = ("api.wandb.ai", "api.forge.coreweave.com")  # wandb's own servers, by their old and their new name


def check_account(service: str) -> None:
    """Checks one service of `trainer.logger`, without using the network.

    Raises:
        UserError: the service would ask for a login.
    """
    if service in _ACCOUNTS and not _ACCOUNTS[service]():
        name = service.upper()
        raise UserError(
            f"trainer.logger asks for {service}, which has no account here: there is no {name}_API_KEY and no login. "
            f"Log in once with `{service} login` or set {name}_API_KEY; or set {name}_MODE=offline to keep the logs on "
            f"this machine until `{service} sync`; or leave {service} out of trainer.logger (metrics.jsonl and the "
            "plots are always written)."
        )


def _wandb() -> bool:
    """Asks wandb's own settings (environment, files); a login is a line of the user's netrc."""
    settings = importlib.import_module("wandb").setup().settings
    if settings.mode in ("offline", "disabled", "dryrun"):
        return True
    if settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    hosts = {urlsplit(settings.base_url).netloc}
    if hosts.intersection(_CLOUD):
        hosts.update(_CLOUD)  # a login under one of the two names is valid for both
    given = os.environ.get("NETRC")
    files = [Path(given).expanduser()] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]
    return any(hosts & _netrc_hosts(file) for file in files)


def _swanlab() -> bool:
    """As documented by swanlab: the mode, the key, and the file that `swanlab login` writes."""
    if os.environ.get("SWANLAB_MODE", "cloud") not in ("cloud", "online"):
        return True
    if os.environ.get("SWANLAB_API_KEY"):
        return True
    at_home = os.environ.get("SWANLAB_ROOT") or os.environ.get("SWANLAB_SAVE_DIR") or Path.home() / ".swanlab"
    return any((Path(folder) / ".netrc").is_file() for folder in (".swanlab", at_home))


def _netrc_hosts(file: Path) -> set[str]:
    """Machines that a netrc file has a login for; none if it can't be read, as in wandb."""
    try:
        return set(netrc.netrc(file).hosts)
    except (OSError, netrc.NetrcParseError):
        return set()


_ACCOUNTS: dict[str, Callable[[], bool]] = {"wandb": _wandb, "swanlab": _swanlab}
