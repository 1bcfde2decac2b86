"""What help says of engines comes from the engines: which act on a key, and which values they take."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from echorl_vl.config import ENGINES
from echorl_vl.config.schema import OPTIONS
from echorl_vl.help import full_help

ENTRY = re.compile(r"^  ([\w.]+) =(.*?)(?=^  \S|\n\n|\Z)", re.M | re.S)
TOLD_OF = {"easyr1", "local", "verl"}  # in the texts below


@pytest.fixture(scope="module")
def entries() -> dict[str, str]:
    """Key -> what `--help-all` says of it where there are no engines but these."""
    before = dict(ENGINES)
    for name in before.keys() - TOLD_OF:
        del ENGINES[name]
    text = full_help()
    ENGINES.clear()
    ENGINES.update(before)  # in the order that it had
    return {key: " ".join(entry.split()) for key, entry in ENTRY.findall(text)}


@pytest.mark.parametrize("name", list(ENGINES))
def test_what_an_engine_ignores_and_accepts_are_keys_and_values(name: str) -> None:
    engine = ENGINES[name]
    for pattern in engine.ignores:
        assert any(fnmatchcase(key, pattern) for key in OPTIONS), pattern
    for key, (values, why) in engine.accepts.items():
        assert why and [OPTIONS[key].convert(value) for value in values], key


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("worker.rollout.gpu_memory_utilization", "0.6 easyr1, verl: share of GPU memory for vLLM"),
        ("worker.rollout.disable_tqdm", "easyr1: no progress bar while sampling"),
        ("worker.critic.optim.lr", "easyr1: peak learning rate"),
        ("worker.actor.optim.lr", "1e-06 peak learning rate"),
        ("worker.actor.optim.strategy", "(one of adamw, adamw_bf16; local, verl: only adamw)"),
        ("worker.actor.optim.lr_scheduler_type", "; easyr1, verl: only constant, cosine)"),
        ("worker.actor.ulysses_size", "; verl: only 1)"),
        ("algorithm.kl_penalty", "full: not supported by any engine yet"),
        ("engine", "(one of auto, easyr1, local, verl)"),
    ],
)
def test_help_names_the_engines_of_a_key_and_the_values_they_take(entries: dict[str, str], key: str, part: str) -> None:
    assert part in entries[key]


def test_an_estimator_that_no_engine_has_is_called_that(entries: dict[str, str]) -> None:
    key = "algorithm.adv_estimator"
    had = set().union(*(engine.accepts[key][0] for engine in ENGINES.values() if key in engine.accepts))
    assert set(OPTIONS[key].choices) - had == {"remax"} and "remax: not supported by any engine yet" in entries[key]
