"""`EchoConfig`: defaults, and one error per field."""

from __future__ import annotations

import dataclasses
import math

import pytest

from echorl_vl.core import EchoConfig

INVALID = {
    "coef": [-0.1, math.nan, math.inf, "1e-3", True, None],
    "apply_to": ["all", None],
    "select": ["min", 3, "no_such_file.py:mine", ":max"],
    "k": [0, 1.5, True, "2"],
    "tau": [0, -1.0, math.inf, "x"],
    "quantile": [-0.1, 1.1, math.nan, "1", True],
    "clip_tokens": ["paper", None],
    "min_step_tokens": [0, 2.0],
    "include_truncated": ["yes", 1, None],
    "verify_threshold": [math.nan, "1", None],
    "normalize_by": ["tokens"],
    "splitter": ["newlines", None],
    "splitter_kwargs": [None, [], {"size": 3}],
    "entropy_temperature": [0.0, -1, "1"],
    "start_step": [-1, 0.5],
    "warmup_steps": [-1, False],
    "decay": ["exponential", "linear"],  # linear requires decay_steps
    "decay_steps": [-1, 1.0],
    "seed": [-1, 0.1],
    "log_grad_share": [0],
}


def test_defaults_follow_the_paper():
    config = EchoConfig()
    assert (config.coef, config.apply_to, config.select) == (0.001, "verified", "max")
    assert (config.splitter, config.normalize_by, config.include_truncated) == ("newline", "prompts", False)


def test_the_invalid_values_cover_every_field():
    assert set(INVALID) == {field.name for field in dataclasses.fields(EchoConfig)}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in INVALID.items() for value in values])
def test_an_error_names_the_field_and_the_value(field, value):
    with pytest.raises(ValueError, match=rf"^echo\.{field}\w* is ") as error:
        EchoConfig(**{field: value})
    assert repr(value) in str(error.value) or "decay" in field


def test_splitter_options_are_checked():
    assert EchoConfig(splitter="regex", splitter_kwargs={"pattern": ";"}).splitter == "regex"
    for options, message in [
        ({}, "'pattern' is missing"),
        ({"pattern": "("}, "valid pattern"),
        ({3: 4}, "splitter_kwargs"),
    ]:
        with pytest.raises(ValueError, match=message):
            EchoConfig(splitter="regex", splitter_kwargs=options)


def test_the_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EchoConfig().coef = 1.0
