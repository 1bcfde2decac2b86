"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import echorl_vl.engines
import echorl_vl.generators  # noqa: F401 - both register their contents, as in a program
from echorl_vl.outputs.log import LOGGER

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def restored_log() -> Iterator[None]:
    """Restore the log after each test, as programs set it up for the whole process."""
    level, handlers = LOGGER.level, list(LOGGER.handlers)
    yield
    LOGGER.setLevel(level)
    LOGGER.handlers = handlers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real Geometry3K problems and Qwen2.5-VL's tokenizer. Skips the test if it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets (../shared/data) are missing")
    return SHARED_DATA
