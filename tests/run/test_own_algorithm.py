"""A custom algorithm is one decorated dataclass, here the example of the documentation."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
from short_runs import REPOSITORY

from echorl_vl import train
from echorl_vl.algorithms import ALGORITHMS, Capability, base
from echorl_vl.config import ENGINES, load_config
from echorl_vl.engines.local.strategies import STRATEGIES
from echorl_vl.errors import UserError

TINY = REPOSITORY / "configs/geo3k_tiny.yaml"


@pytest.fixture
def toy(monkeypatch, tmp_path) -> type:
    """The class in the documentation, registered like a file in the folder of algorithms."""
    page = (REPOSITORY / "docs/algorithms.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page.split("## A new base algorithm")[1].split("## ")[0], re.DOTALL)
    path, name = tmp_path / "toy.py", "echorl_vl.algorithms.toy"
    path.write_text(code)
    before = dict(ALGORITHMS)
    ALGORITHMS.pop("toy", None)  # if a developer has added the example
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    yield module.Toy
    ALGORITHMS.clear()
    ALGORITHMS.update(before)


@pytest.mark.slow
def test_a_custom_algorithm_trains_by_its_name(toy: type, run, tmp_path) -> None:
    def metrics(*overrides: str) -> list[dict]:
        done = run(*overrides, folder=tmp_path / re.sub(r"\W", "", "".join(overrides)))
        assert done.status == 0, done.output
        return done.repeatable()

    made = metrics("algorithm.name=toy")
    assert len(made) == 2 and all(row["actor/pg_loss"] is not None for row in made)
    # With this option, its loss equals that of GRPO.
    same = metrics("algorithm.name=toy", "algorithm.options={below_mean: 1}")
    grpo = metrics("algorithm.name=grpo", "algorithm.disable_kl=true")
    assert same == grpo and made[0]["actor/pg_loss"] != grpo[0]["actor/pg_loss"]


def test_a_custom_algorithm_is_in_the_help_and_its_options_are_checked(toy: type, capsys) -> None:
    assert train.main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "toy GRPO in which rollouts below the mean of their group weigh less" in shown
    assert "below_mean = 0.5: weight of their advantages" in shown
    config = load_config(TINY, ["algorithm.name=toy"])
    assert config.algorithm.disable_kl and config.algorithm.online_filtering is False
    for options, message in (
        ("{below_maen: 1}", "did you mean below_mean?"),
        ("{below_mean: -1}", "expected a number of at least 0"),
        ("{below_mean: much}", "expected a finite number"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            load_config(TINY, ["algorithm.name=toy", f"algorithm.options={options}"])


def test_an_engine_that_does_not_support_it_refuses_it(toy: type) -> None:
    """The methods that it overrides are added to its needs."""
    assert toy.needs == {Capability.POLICY_LOSS}
    having = r"engine (\w+ or )*easyr1 or (\w+ or )*local( or \w+)* does"
    with pytest.raises(UserError, match=f"a custom policy loss, which engine verl does not support; {having}"):
        load_config(TINY, ["algorithm.name=toy", "engine=verl"])


@pytest.mark.slow
def test_an_algorithm_can_have_two_strategies(run, monkeypatch) -> None:
    """Prompts with hints, sampled in rounds."""

    @dataclass(frozen=True)
    class Both(ALGORITHMS["reinforce_ada"]):
        needs: ClassVar = frozenset({Capability.HINTS, Capability.ROUNDS})
        pieces: int = 2
        coef: float = 0.001

        def keep_hint(self, step, total_steps, pieces, generator):
            return pieces

    monkeypatch.setitem(ALGORITHMS, "both", Both)
    Both.name = "both"
    done = run("algorithm.name=both", "data.demonstration_key=solution", "algorithm.options={max_rounds: 3}")
    assert done.status == 0, done.output
    for row in done.metrics:
        assert row["hint/tokens"] > 0 and row["hint/loss"] > 0 and row["sampling/rounds"] > 1


def test_every_capability_has_a_strategy_or_a_method() -> None:
    assert set(STRATEGIES) | set(base.METHODS.values()) == set(Capability) == ENGINES["local"].capabilities


def test_types_of_options_are_checked() -> None:
    for kind, good, bad in ((bool, True, 1), (str, "a", 1), (int, 1, True), (float, 1, "a")):
        base._check_type("x", good, kind)
        with pytest.raises(ValueError, match=r"algorithm\.options\.x is"):
            base._check_type("x", bad, kind)
