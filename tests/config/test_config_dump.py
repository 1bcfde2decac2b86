"""Writing a configuration, comparing two, and the help text."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from echorl_vl.config import Config, config_to_dict, load_config, to_yaml
from echorl_vl.config.schema import OPTIONS, SECTIONS
from echorl_vl.core.config import EchoConfig
from echorl_vl.help import full_help, short_help

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8).filter(lambda text: text != "???"),
    st.text("${}\\:.a-1e'\"# ", max_size=8),
    st.sampled_from(["1e-6", "010", "2024-01-01", "yes", "null", "~", "1_000", "0x1f", ".inf", "<<", "=", "- a", ""]),
)


@pytest.fixture
def loaded(minimal: Path) -> Config:
    return load_config(minimal)


def reload(config: Config, folder: Path) -> Config:
    path = folder / "written.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return load_config(path)


def test_round_trip(minimal: Path, tmp_path: Path) -> None:
    overrides = [
        "worker.actor.optim.lr=3e-7",
        "trainer.experiment_name='1e-6'",
        "worker.reward.reward_function_kwargs={a: '1e-6', b: [1, 2.5, null], c: {d: true}}",
        "echo.entropy_temperature=0.5",
    ]
    config = load_config(minimal, overrides)
    again = reload(config, tmp_path)
    assert again == config
    assert to_yaml(again) == to_yaml(config)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kwargs=st.dictionaries(
        st.text("ab$.{", min_size=1, max_size=3), st.one_of(PLAIN, st.lists(PLAIN, max_size=2)), max_size=3
    )
)
@example(kwargs={"a": "${:", "b": ["\\\\${x:1}", "\\${"]})
def test_round_trip_of_any_free_form_value(kwargs: dict, loaded: Config, tmp_path: Path) -> None:
    config = copy.deepcopy(loaded)
    config.worker.reward.reward_function_kwargs = copy.deepcopy(kwargs)
    again = reload(config, tmp_path).worker.reward.reward_function_kwargs
    assert again == kwargs
    assert repr(again) == repr(kwargs)  # 1 is not True and not 1.0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text("${}\\:.a1e'\"#- ", min_size=1, max_size=10))
def test_round_trip_of_any_text(name: str, loaded: Config, tmp_path: Path) -> None:
    config = copy.deepcopy(loaded)
    config.trainer.experiment_name = name
    assert reload(config, tmp_path).trainer.experiment_name == name


def test_yaml_has_every_key_and_nothing_else() -> None:
    plain = config_to_dict(Config())
    assert list(plain) == ["data", "algorithm", "worker", "trainer", "echo", "engine"]
    flat = []

    def flatten(tree: dict, prefix: str) -> None:
        for name, value in tree.items():
            key = prefix + name
            flatten(value, f"{key}.") if key in SECTIONS else flat.append(key)

    flatten(plain, "")
    assert flat == list(OPTIONS)
    assert plain["trainer"]["logger"] == ["console", "wandb"]


def test_every_field_has_help() -> None:
    for key, option in OPTIONS.items():
        assert len(option.help) > 5, key
    for key, section in SECTIONS.items():
        assert len(section.help) > 5, key


def test_help_holds_the_whole_schema() -> None:
    text = full_help()
    for key in OPTIONS:
        assert f"\n  {key} =" in text, key
    assert "at least 0 and at most 1" in text and "one of grpo, grpo_passk" in text
    assert max(map(len, text.splitlines())) <= 120


def test_short_help_explains_echo_and_the_command() -> None:
    text = short_help("train")
    assert text.startswith("usage: train CONFIG.yaml [key=value ...]")
    for field in dataclasses.fields(EchoConfig):
        assert f"\n  echo.{field.name} =" in text
    for word in ("--help-all", "--print-config", "worker.rollout.n", "trainer.device"):
        assert word in text
    assert len(text) < len(full_help()) / 2


def test_defaults_are_inside_their_own_ranges() -> None:
    for key, option in OPTIONS.items():
        assert option.convert(option.default) == option.default, key
