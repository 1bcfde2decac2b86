"""What a help line says of engines is what the engines do."""

from __future__ import annotations

import pytest

from echorl_vl.config import Config
from echorl_vl.config.options import schema_options
from echorl_vl.engines.local.checks import ESTIMATORS, KL_PENALTIES
from echorl_vl.engines.verl.checks import ACCEPTS
from echorl_vl.engines.verl.settings import ACTED_ON, NO_EFFECT

OPTIONS = {key: option for key, option in schema_options(Config).items() if not key.startswith("worker.critic.")}
"""The critic's section is EasyR1's as a whole, and says so in its heading."""


def of_verl(key: str) -> bool:
    """Whether verl's engine acts on a key, in more than one value."""
    silent = any(key == name or (name.endswith(".*") and key.startswith(name[:-1])) for name in NO_EFFECT - ACTED_ON)
    return not silent and len(ACCEPTS.get(key, ((), ()))[0]) != 1


@pytest.mark.parametrize("key", [key for key, option in OPTIONS.items() if "EasyR1 engine" in option.help])
def test_a_key_of_easyr1_alone_is_none_of_verl(key: str) -> None:
    help_line = OPTIONS[key].help
    if help_line.startswith("EasyR1 engine: "):
        assert not of_verl(key), f"{key}: verl takes it too"


@pytest.mark.parametrize("key", [key for key, option in OPTIONS.items() if "engines on Ray" in option.help])
def test_a_key_of_the_engines_on_ray_is_taken_by_verl_or_refused_with_a_reason(key: str) -> None:
    assert of_verl(key) or key in ACCEPTS


def test_every_engine_is_named_for_the_values_that_the_local_one_has_not() -> None:
    missing = set(OPTIONS["algorithm.adv_estimator"].range.choices) - set(ESTIMATORS)
    assert missing == {"gae", "remax"} and all(name in OPTIONS["algorithm.adv_estimator"].help for name in missing)
    missing = set(OPTIONS["algorithm.kl_penalty"].range.choices) - set(KL_PENALTIES)
    assert missing == {"full"} and "full: no engine yet" in OPTIONS["algorithm.kl_penalty"].help
