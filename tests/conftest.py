"""Fixtures that every part of the test suite shares."""

from __future__ import annotations

from pathlib import Path

import pytest

import echorl_vl.engines
import echorl_vl.generators  # noqa: F401 - both register what they hold, as a program does

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real Geometry3K problems and Qwen2.5-VL's tokenizer; skips where they are not beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data set is not beside this checkout (../shared/data)")
    return SHARED_DATA
