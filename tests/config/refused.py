"""What a configuration that is refused says, and the type of the fixture `write`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echorl_vl.config import load_config
from echorl_vl.errors import UserError

Write = Callable[[str], Path]


def error_of(path: Path | str, *overrides: str) -> str:
    """The message of the UserError that loading raises."""
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    return str(caught.value)
