"""Warnings of libraries that a user can't act on are hidden; those about a model are shown."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import pytest
from transformers.utils import logging as transformers_logging

from echorl_vl import train
from echorl_vl.engines.local import run as local_run
from echorl_vl.evaluation import generate
from echorl_vl.outputs.console import quiet_libraries

REPOSITORY = Path(__file__).resolve().parents[2]
ADVICE = (
    "`torch_dtype` is deprecated! Use `dtype` instead!",
    "The image processor is now loaded as a fast processor by default. This is a breaking change",
    "`use_return_dict` will be removed in v5",
)
NEWS = "Some weights of Qwen2ForCausalLM were not initialized from the checkpoint: ['lm_head.weight']"


@pytest.fixture
def logged(monkeypatch):
    """The output of transformers' log handler."""
    transformers_logging.get_logger()
    (handler, *_) = logging.getLogger("transformers").handlers
    out = io.StringIO()
    monkeypatch.setattr(handler, "stream", out)
    monkeypatch.setattr(handler, "filters", [])
    return out


def test_future_warnings_and_advice_are_hidden_but_messages_about_a_model_are_not(logged, monkeypatch):
    monkeypatch.setattr("sys.warnoptions", [])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        quiet_libraries()
        warnings.warn("this will change", FutureWarning, stacklevel=1)
        warnings.warn("the image is large", UserWarning, stacklevel=1)
    assert [str(one.message) for one in seen] == ["the image is large"]
    logger = transformers_logging.get_logger("transformers.modeling_utils")
    for line in (*ADVICE, NEWS):
        logger.warning(line)
    (line,) = logged.getvalue().splitlines()
    assert line.endswith(NEWS)


def test_warnings_that_the_user_asked_for_are_shown(logged, monkeypatch):
    monkeypatch.setattr("sys.warnoptions", ["default"])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        quiet_libraries()
        warnings.warn("this will change", FutureWarning, stacklevel=1)
    assert len(seen) == 1


def test_trainings_and_evaluations_are_quiet(logged, monkeypatch):
    """Both hide the advice before they load a model."""

    def opened(*_):
        transformers_logging.get_logger("transformers.x").warning(ADVICE[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(local_run, "check_loggers", opened)
    with warnings.catch_warnings():
        assert train.main([str(REPOSITORY / "configs/math_tiny.yaml")]) == 130
    monkeypatch.setattr(generate, "_plan", opened)
    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt):
        generate.generate(type("Options", (), {"benchmarks": [None]}), None)
    assert logged.getvalue() == ""
