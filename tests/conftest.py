"""Fixtures that every part of the test suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import echorl_vl.engines
import echorl_vl.generators  # noqa: F401 - both register what they hold, as a program does
from echorl_vl.outputs.log import LOGGER

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Programs set up the log of the whole process: a test leaves it as it was."""
    level, handlers = LOGGER.level, list(LOGGER.handlers)
    yield
    LOGGER.setLevel(level)
    LOGGER.handlers = handlers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real Geometry3K problems and Qwen2.5-VL's tokenizer; skips where they are not beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data set is not beside this checkout (../shared/data)")
    return SHARED_DATA
