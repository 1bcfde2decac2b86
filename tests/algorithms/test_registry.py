"""Algorithms by name: what naming one sets, what it wants, and what is wrong with a wrong one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from echorl_vl.algorithms import ALGORITHMS, Algorithm, make_algorithm, register
from echorl_vl.algorithms.base import BRINGS, Capability
from echorl_vl.config import clip_note, config_to_dict, load_config, overridden
from echorl_vl.config.options import schema_options
from echorl_vl.config.schema import Config
from echorl_vl.core import hint_probability
from echorl_vl.errors import UserError

TINY = Path(__file__).resolve().parents[2] / "configs/geo3k_tiny.yaml"
TRACES = "data.demonstration_key=solution"


def loaded(*overrides: str, file: str | None = None, tmp_path: Path | None = None):
    if file is None:
        return load_config(TINY, overrides)
    path = tmp_path / "config.yaml"
    assert "    clip_ratio_high: 0.2\n" in TINY.read_text()
    path.write_text(TINY.read_text().replace("  name: grpo\n", file))
    return load_config(path, overrides)


def test_every_algorithm_of_the_paper_is_there() -> None:
    assert {"grpo", "dapo", "luffy", "uft"} <= set(ALGORITHMS)
    assert {"sft", "dr_grpo", "reinforce_rej", "reinforce_ada", "relift", "srft"} <= set(ALGORITHMS)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_naming_one_sets_its_keys_and_loads(name: str) -> None:
    config = loaded(f"algorithm.name={name}", TRACES)
    assert set(ALGORITHMS[name].preset) <= set(schema_options(Config))
    for key, value in ALGORITHMS[name].preset.items():
        found = config
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value, key
    assert ALGORITHMS[name].__doc__


def test_who_wins_over_whom(tmp_path: Path) -> None:
    """File: its own keys over the name's. Command line: the name's over the file's, its own keys over those."""
    assert loaded("algorithm.name=dapo").worker.actor.clip_ratio_high == 0.28  # the file has 0.2
    keys = ("algorithm.name=dapo", "worker.actor.clip_ratio_high=0.25")
    assert loaded(*keys).worker.actor.clip_ratio_high == loaded(*keys[::-1]).worker.actor.clip_ratio_high == 0.25
    in_file = loaded(file="  name: dapo\n", tmp_path=tmp_path)
    assert in_file.worker.actor.clip_ratio_high == 0.2 and in_file.algorithm.online_filtering
    other = loaded("algorithm.name=grpo", file="  name: dapo\n", tmp_path=tmp_path)
    assert not other.algorithm.online_filtering and other.algorithm.filter_key == "overall"
    rej = loaded(file="  name: reinforce_rej\n", tmp_path=tmp_path)
    assert rej.algorithm.adv_estimator == "reinforce_rej"
    assert overridden(in_file) == [overridden(in_file)[0]] and "clip_ratio_high = 0.28" in overridden(in_file)[0]
    assert not overridden(rej) and not overridden(loaded())
    options = loaded("algorithm.name=grpo", file="  name: luffy\n  options: {gamma: 0.2}\n", tmp_path=tmp_path)
    assert options.algorithm.options == {}
    assert "algorithm.name = dapo" in loaded("algorithm.name=dapo").origin("algorithm.online_filtering")


EASYR1 = """
data: {train_files: generated/arithmetic@train, answer_key: answer}
worker:
  actor: {model: {model_path: echorl_vl/tiny/arithmetic/model}}
  rollout: {n: 4}
  reward: {reward_function: echorl_vl/rewards/geometry.py:compute_score}
"""


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"dapo", "reinforce_ada"}))
def test_a_clip_that_is_no_part_of_an_algorithm_stays_the_files(tmp_path: Path, name: str) -> None:
    """Else a comparison of two names would compare two clips as well."""
    path = tmp_path / "easyr1.yaml"
    path.write_text(EASYR1)
    plain, named = load_config(path), load_config(path, [f"algorithm.name={name}", TRACES])
    for config in (plain, named):
        assert (config.worker.actor.clip_ratio_low, config.worker.actor.clip_ratio_high) == (0.2, 0.3)
    if name == "grpo":  # naming what an EasyR1 file trains changes nothing of it
        assert config_to_dict(load_config(path, ["algorithm.name=grpo"])) == config_to_dict(plain)


def test_the_papers_clip_stands_in_the_shipped_configurations() -> None:
    for path in sorted(TINY.parent.glob("*.yaml")):
        actor = load_config(path).worker.actor
        dapo = path.name == "geo3k_dapo.yaml"
        assert (actor.clip_ratio_low, actor.clip_ratio_high) == (0.2, 0.28 if dapo else 0.2), path.name


def test_the_clip_is_said_with_its_origin() -> None:
    (line,) = clip_note(loaded())
    assert line.startswith("clip of the probability ratio: 0.2 low (") and "0.2 high (" in line
    (line,) = clip_note(loaded("algorithm.name=dapo"))
    assert "0.28 high (algorithm.name = dapo, command line)" in line
    assert not clip_note(loaded("algorithm.name=sft", TRACES)) and not clip_note(loaded("worker.actor.loss_type=sapo"))


def test_without_a_name_nothing_is_set() -> None:
    assert loaded().algorithm.name == "grpo" and not loaded().algorithm.options


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["algorithm.name=lufy", TRACES], "expected one of grpo, dapo, dr_grpo, luffy"),
        (["algorithm.name=luffy"], "data.demonstration_key = null"),
        (["algorithm.name=luffy", TRACES, "algorithm.options.gama=1"], "did you mean gamma?"),
        (["algorithm.name=luffy", TRACES, "algorithm.options.gamma=0"], "expected a number above 0"),
        (["algorithm.name=uft", TRACES, "algorithm.options.pieces=2.5"], "expected a whole number"),
        (["algorithm.name=uft", TRACES, "algorithm.options.start=2"], "expected a probability"),
        (["algorithm.name=uft", TRACES, "algorithm.options.coef=.inf"], "expected a finite number"),
        (["algorithm.name=dapo", "algorithm.options.overlong_share=0"], "above 0 and at most 1"),
        (["algorithm.options.gamma=1"], "unknown option of grpo; grpo has no options"),
        (["algorithm.name=sft", TRACES, "echo.coef=0.001"], "echo.coef = 0.001"),
        (["algorithm.name=srft", TRACES, "worker.rollout.n=2"], "at least 3 with srft"),
        (["algorithm.name=reinforce_ada", "algorithm.online_filtering=true"], "rounds of its own"),
        (["algorithm.name=reinforce_ada", "algorithm.options.keep=33"], "at most 32"),
        (["algorithm.name=luffy", TRACES, "algorithm.online_filtering=true"], "filtering drops them"),
        (
            ["algorithm.name=srft", TRACES, "algorithm.disable_kl=false", "algorithm.use_kl_loss=false"],
            "a KL in the reward is lost on srft",
        ),
    ],
)
def test_wrong_ones_are_named(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError) as error:
        loaded(*overrides)
    assert expected in str(error.value), str(error.value)


def test_sft_needs_no_group() -> None:
    """Its rows are not compared: one of each problem is enough."""
    one = ["worker.rollout.n=1", "worker.actor.micro_batch_size_per_device_for_update=16"]
    assert loaded("algorithm.name=sft", TRACES, *one).worker.rollout.n == 1


def test_validation_alone_needs_no_traces() -> None:
    loaded("algorithm.name=luffy", "trainer.val_only=true")


@pytest.mark.parametrize("step", [1, 100, 299, 300, 301])
def test_ufts_hints_follow_the_schedule(step: int) -> None:
    """Chi-square of 4,000 draws against Binomial(5, p(step)); 20.5 is its 0.1 % point at 5 degrees of freedom."""
    uft = make_algorithm("uft")
    kept = uft.keep_hint(step, 500, torch.full((4000,), 5), torch.Generator().manual_seed(step))
    p = hint_probability(step)
    if step > 300:
        assert p == 0 and not kept.any()
        return
    binomial = torch.distributions.Binomial(5, torch.tensor(p))
    expected = binomial.log_prob(torch.arange(6.0)).exp() * 4000
    observed = kept.bincount(minlength=6).float()
    rare = expected < 5  # too few to count alone
    pairs = [(observed[~rare], expected[~rare]), (observed[rare].sum()[None], expected[rare].sum()[None])]
    chi_square = sum(((o - e).square() / e.clamp(min=1)).sum().item() for o, e in pairs)
    assert chi_square < 20.5, (observed, expected)


def test_dapo_shapes_rewards_and_grpo_does_not() -> None:
    rewards, lengths = torch.ones(3), torch.tensor([10, 90, 100])
    assert make_algorithm("grpo").shape_rewards(rewards, lengths, 100) is rewards
    torch.testing.assert_close(make_algorithm("dapo").shape_rewards(rewards, lengths, 100), torch.tensor([1, 0.5, 0.0]))
    off = make_algorithm("dapo", {"overlong_factor": 0})
    assert off.shape_rewards(rewards, lengths, 100) is rewards


@pytest.mark.parametrize("default", [dataclasses.MISSING, (1, 2)], ids=["none", "tuple"])
def test_an_option_without_a_default_of_a_plain_type_is_refused(default: object) -> None:
    option = ("taper", float) if default is dataclasses.MISSING else ("taper", tuple, default)
    faulty = dataclasses.make_dataclass("Faulty", [option], bases=(Algorithm,), frozen=True)
    with pytest.raises(ValueError, match="option taper of the algorithm 'faulty': expected a switch, number or text"):
        register("faulty")(faulty)
    assert "faulty" not in ALGORITHMS


@pytest.mark.parametrize(("need", "parts"), BRINGS.items(), ids=lambda value: getattr(value, "name", ""))
def test_a_need_without_what_it_asks_for_is_refused(need: Capability, parts: tuple[str, ...]) -> None:
    members = {"needs": frozenset({need})} | dict.fromkeys(parts[1:], lambda *arguments: None)
    faulty = type("Faulty", (Algorithm,), members)
    with pytest.raises(ValueError, match=f"algorithm 'faulty' needs Capability.{need.name}, and has no {parts[0]} for"):
        register("faulty")(faulty)
    assert "faulty" not in ALGORITHMS


def test_options_of_a_class_that_is_no_dataclass_are_refused() -> None:
    class Faulty(Algorithm):
        taper: float = 0.5

    with pytest.raises(ValueError, match="option taper of the algorithm 'faulty': Faulty is not a dataclass"):
        register("faulty")(Faulty)
    assert "faulty" not in ALGORITHMS
