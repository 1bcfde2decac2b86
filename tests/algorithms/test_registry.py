"""Registration of algorithms: presets, precedence of keys, requirements and errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from echorl_vl.algorithms import ALGORITHMS, Algorithm, make_algorithm, register
from echorl_vl.algorithms.base import REQUIRED_MEMBERS, Capability
from echorl_vl.config import config_to_dict, load_config
from echorl_vl.config.schema import OPTIONS
from echorl_vl.core import hint_probability
from echorl_vl.errors import UserError
from echorl_vl.start_notes import clip_note, overridden

TINY = Path(__file__).resolve().parents[2] / "configs/geo3k_tiny.yaml"
DEMONSTRATIONS = "data.demonstration_key=solution"


def loaded(*overrides: str, file: str | None = None, tmp_path: Path | None = None):
    if file is None:
        return load_config(TINY, overrides)
    path = tmp_path / "config.yaml"
    assert "    clip_ratio_high: 0.2\n" in TINY.read_text()
    path.write_text(TINY.read_text().replace("  name: grpo\n", file))
    return load_config(path, overrides)


def test_every_algorithm_of_the_paper_is_registered() -> None:
    assert {"grpo", "dapo", "luffy", "uft"} <= set(ALGORITHMS)
    assert {"sft", "dr_grpo", "reinforce_rej", "reinforce_ada", "relift", "srft"} <= set(ALGORITHMS)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_naming_an_algorithm_sets_its_preset(name: str) -> None:
    config = loaded(f"algorithm.name={name}", DEMONSTRATIONS)
    assert set(ALGORITHMS[name].preset) <= set(OPTIONS)
    for key, value in ALGORITHMS[name].preset.items():
        actual = config
        for part in key.split("."):
            actual = getattr(actual, part)
        assert actual == value, key
    assert ALGORITHMS[name].__doc__


def test_precedence_of_keys_and_presets(tmp_path: Path) -> None:
    """From high to low: keys and then the preset on the command line, keys and then the preset in the file."""
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
def test_algorithms_without_a_clip_keep_the_clip_of_the_file(tmp_path: Path, name: str) -> None:
    """Otherwise a comparison of two algorithms would also compare two clips."""
    path = tmp_path / "easyr1.yaml"
    path.write_text(EASYR1)
    plain, named = load_config(path), load_config(path, [f"algorithm.name={name}", DEMONSTRATIONS])
    for config in (plain, named):
        assert (config.worker.actor.clip_ratio_low, config.worker.actor.clip_ratio_high) == (0.2, 0.3)
    if name == "grpo":  # an EasyR1 file trains GRPO; naming it changes nothing
        assert config_to_dict(load_config(path, ["algorithm.name=grpo"])) == config_to_dict(plain)


def test_shipped_configurations_have_the_clip_of_the_paper() -> None:
    for path in sorted(TINY.parent.glob("*.yaml")):
        actor = load_config(path).worker.actor
        dapo = path.name == "geo3k_dapo.yaml"
        assert (actor.clip_ratio_low, actor.clip_ratio_high) == (0.2, 0.28 if dapo else 0.2), path.name


def test_the_note_about_the_clip_names_its_origin() -> None:
    (line,) = clip_note(loaded())
    assert line.startswith("clip of the probability ratio: 0.2 low (") and "0.2 high (" in line
    (line,) = clip_note(loaded("algorithm.name=dapo"))
    assert "0.28 high (algorithm.name = dapo, command line)" in line
    assert not clip_note(loaded("algorithm.name=sft", DEMONSTRATIONS))
    assert not clip_note(loaded("worker.actor.loss_type=sapo"))


def test_the_default_algorithm_is_grpo_without_options() -> None:
    assert loaded().algorithm.name == "grpo" and not loaded().algorithm.options


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["algorithm.name=lufy", DEMONSTRATIONS], "expected one of grpo, dapo, dr_grpo, luffy"),
        (["algorithm.name=luffy"], "data.demonstration_key = null"),
        (["algorithm.name=luffy", DEMONSTRATIONS, "algorithm.options.gama=1"], "did you mean gamma?"),
        (["algorithm.name=luffy", DEMONSTRATIONS, "algorithm.options.gamma=0"], "expected a number above 0"),
        (["algorithm.name=uft", DEMONSTRATIONS, "algorithm.options.pieces=2.5"], "expected a whole number"),
        (["algorithm.name=uft", DEMONSTRATIONS, "algorithm.options.start=2"], "expected a probability"),
        (["algorithm.name=uft", DEMONSTRATIONS, "algorithm.options.coef=.inf"], "expected a finite number"),
        (["algorithm.name=dapo", "algorithm.options.overlong_share=0"], "above 0 and at most 1"),
        (["algorithm.options.gamma=1"], "unknown option of grpo; grpo has no options"),
        (["algorithm.name=sft", DEMONSTRATIONS, "echo.coef=0.001"], "echo.coef = 0.001"),
        (["algorithm.name=srft", DEMONSTRATIONS, "worker.rollout.n=2"], "at least 3 with srft"),
        (["algorithm.name=reinforce_ada", "algorithm.online_filtering=true"], "rounds of its own"),
        (["algorithm.name=reinforce_ada", "algorithm.options.keep=33"], "at most 32"),
        (["algorithm.name=luffy", DEMONSTRATIONS, "algorithm.online_filtering=true"], "filtering drops them"),
        (
            ["algorithm.name=srft", DEMONSTRATIONS, "algorithm.disable_kl=false", "algorithm.use_kl_loss=false"],
            "a KL in the reward is lost on srft",
        ),
    ],
)
def test_invalid_configurations_are_errors(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError) as error:
        loaded(*overrides)
    assert expected in str(error.value), str(error.value)


def test_sft_accepts_groups_of_one_row() -> None:
    """Its rows are not compared with each other."""
    one = ["worker.rollout.n=1", "worker.actor.micro_batch_size_per_device_for_update=16"]
    assert loaded("algorithm.name=sft", DEMONSTRATIONS, *one).worker.rollout.n == 1


def test_validation_alone_needs_no_demonstrations() -> None:
    loaded("algorithm.name=luffy", "trainer.val_only=true")


@pytest.mark.parametrize("step", [1, 100, 299, 300, 301])
def test_ufts_hints_follow_the_schedule(step: int) -> None:
    """Chi-square test of 4,000 samples against Binomial(5, p(step)); 20.5 is its 0.1 % point (5 degrees of freedom)."""
    uft = make_algorithm("uft")
    kept = uft.keep_hint(step, 500, torch.full((4000,), 5), torch.Generator().manual_seed(step))
    p = hint_probability(step)
    if step > 300:
        assert p == 0 and not kept.any()
        return
    binomial = torch.distributions.Binomial(5, torch.tensor(p))
    expected = binomial.log_prob(torch.arange(6.0)).exp() * 4000
    observed = kept.bincount(minlength=6).float()
    rare = expected < 5  # merged into one cell
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
def test_an_option_without_a_default_of_a_plain_type_is_an_error(default: object) -> None:
    option = ("taper", float) if default is dataclasses.MISSING else ("taper", tuple, default)
    faulty = dataclasses.make_dataclass("Faulty", [option], bases=(Algorithm,), frozen=True)
    with pytest.raises(ValueError, match="option taper of the algorithm 'faulty': expected a bool, number or string"):
        register("faulty")(faulty)
    assert "faulty" not in ALGORITHMS


@pytest.mark.parametrize(("need", "parts"), REQUIRED_MEMBERS.items(), ids=lambda value: getattr(value, "name", ""))
def test_a_missing_member_of_a_capability_is_an_error(need: Capability, parts: tuple[str, ...]) -> None:
    members = {"needs": frozenset({need})} | dict.fromkeys(parts[1:], lambda *arguments: None)
    faulty = type("Faulty", (Algorithm,), members)
    message = f"algorithm 'faulty' needs Capability.{need.name}, which requires {parts[0]}"
    with pytest.raises(ValueError, match=message):
        register("faulty")(faulty)
    assert "faulty" not in ALGORITHMS


def test_options_of_a_class_that_is_not_a_dataclass_are_an_error() -> None:
    class Faulty(Algorithm):
        taper: float = 0.5

    with pytest.raises(ValueError, match="option taper of the algorithm 'faulty': Faulty is not a dataclass"):
        register("faulty")(Faulty)
    assert "faulty" not in ALGORITHMS
