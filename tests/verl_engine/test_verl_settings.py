"""Every key is translated for verl, implemented by the adapter, without effect, or refused."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest

from echorl_vl.config import ENGINES, Config, load_config
from echorl_vl.config.dump import get_value
from echorl_vl.config.fields import Option
from echorl_vl.config.schema import OPTIONS
from echorl_vl.engines.ray.adjusted import set_value
from echorl_vl.engines.verl.settings import ACTED_ON, NO_EFFECT, extra_sections, to_verl
from echorl_vl.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


def recipe(*overrides: str) -> Config:
    return load_config(REPOSITORY / "configs/math_1_5b_verl.yaml", overrides)


def listed(key: str, names: frozenset[str]) -> bool:
    return key in names or any(name.endswith(".*") and key.startswith(name[:-1]) for name in names)


def accepts(option: Option, value) -> bool:
    try:
        return option.convert(value) == value
    except ValueError:
        return False


def another(option: Option, value):
    """A value of the option's type and range that is not `value`."""
    kind = option.kind
    if option.choices:
        if "fp32" in option.choices:  # bf16 and bfloat16 are the same
            return "fp16"
        other = next(choice for choice in option.choices if choice != value and choice not in (value or ()))
        return (other,) if isinstance(value, tuple) else other
    if kind is bool:
        return not value
    if kind in (int, float):
        candidates = [0.25, 0.5, 2, 3, 7] if kind is float else [2, 3, 5, 7]
        return next(kind(number) for number in candidates if number != value and accepts(option, kind(number)))
    if isinstance(value, tuple):
        return tuple(number / 2 for number in value)
    if option.kind is dict:
        return {"n": 5} if option.name == "val_override_config" else {"something": 1}
    return "something else"


def translated(config: Config) -> tuple:
    return to_verl(config), extra_sections(config, Path("run"), 3)


@pytest.fixture(scope="module")
def config() -> Config:
    """The recipe with filtering and KL, so that their keys have an effect."""
    return recipe("algorithm.online_filtering=true", "algorithm.filter_key=accuracy", "algorithm.disable_kl=false")


@pytest.mark.parametrize("key", [key for key in OPTIONS if not key.startswith(("worker.critic.", "echo."))])
def test_every_key_is_translated_or_listed(config: Config, key: str, tmp_path: Path) -> None:
    changed = copy.deepcopy(config)
    value = another(OPTIONS[key], get_value(config, key))
    if key == "data.override_chat_template":
        value = str(tmp_path / "template.jinja")
        Path(value).write_text("{{ messages }}")
    set_value(changed, key, value)
    refused = any(key in problem.keys for problem in ENGINES["verl"].issues(changed))
    reached = translated(changed) != translated(config)
    assert refused or reached or listed(key, ACTED_ON) or listed(key, NO_EFFECT), f"{key} = {value} is ignored"
    assert not (reached and listed(key, NO_EFFECT)), f"{key} has an effect"


def test_echo_section_is_copied() -> None:
    config = recipe("echo.select=topk", "echo.k=2", "echo.warmup_steps=5")
    assert extra_sections(config)["echo"] == dataclasses.asdict(config.echo)


def test_listed_keys_exist() -> None:
    for name in ACTED_ON | NO_EFFECT:
        assert any(key.startswith(name[:-1]) if name.endswith(".*") else key == name for key in OPTIONS), name


def test_keys_of_grpo_are_translated() -> None:
    found = to_verl(
        recipe(
            "worker.actor.clip_ratio_low=0.1",
            "worker.actor.clip_ratio_high=0.28",
            "worker.actor.clip_ratio_dual=4",
            "worker.actor.loss_avg_mode=constant",
            "algorithm.disable_kl=false",
            "algorithm.kl_coef=0.25",
        )
    )
    actor = "actor_rollout_ref.actor"
    assert (found[f"{actor}.clip_ratio_low"], found[f"{actor}.clip_ratio_high"], found[f"{actor}.clip_ratio_c"]) == (
        0.1, 0.28, 4,
    )  # fmt: skip
    assert found[f"{actor}.loss_agg_mode"] == "seq-mean-token-sum-norm" and found[f"{actor}.loss_scale_factor"] == 8192
    assert found["algorithm.norm_adv_by_std_in_grpo"] is False and found[f"{actor}.entropy_coeff"] == 0.001
    assert found["algorithm.use_kl_in_reward"] is True and found[f"{actor}.use_kl_loss"] is False
    assert found["algorithm.kl_ctrl.kl_coef"] == 0.25
    loss = to_verl(recipe("algorithm.disable_kl=false", "algorithm.use_kl_loss=true", "algorithm.kl_coef=0.25"))
    assert loss["algorithm.use_kl_in_reward"] is False and loss[f"{actor}.use_kl_loss"] is True
    assert loss[f"{actor}.kl_loss_coef"] == 0.25


def test_validation_is_sampled_like_training_except_for_overrides() -> None:
    prefix = "actor_rollout_ref.rollout.val_kwargs"
    found = to_verl(recipe("worker.rollout.val_override_config={temperature: 0, n: 4}", "worker.rollout.top_p=0.9"))
    names = ("temperature", "top_p", "top_k", "n", "do_sample")
    assert [found[f"{prefix}.{name}"] for name in names] == [0, 0.9, -1, 4, False]


def test_max_steps_may_exceed_the_epochs() -> None:
    assert to_verl(recipe("trainer.max_steps=5000"))["trainer.total_epochs"] == 5000


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["algorithm.name=luffy", "data.demonstration_key=solution"],
         "needs a custom policy loss and demonstrations among the rows of a group, which engine verl does not support"),
        (["algorithm.name=dapo"], "it needs shaped rewards, which engine verl does not support"),
        (["algorithm.adv_estimator=rloo"], "expected grpo: engine verl is not tested with other values"),
        (["worker.actor.loss_type=gspo"], "expected default"),
        (["worker.actor.model.lora.rank=8"], "expected 0 (no adapters)"),
        (["worker.actor.ulysses_size=2"], "expected 1"),
        (["echo.entropy_temperature=0.5"], "verl's entropies are at the rollout's temperature"),
        (["echo.log_grad_share=true"], "does not measure gradient norms of single terms"),
        (["worker.actor.optim.lr_scheduler_type=linear"], "supports constant, cosine"),
        (["algorithm.disable_kl=false", "algorithm.use_kl_loss=true", "algorithm.kl_type=adaptive"], "expected fixed"),
        (["algorithm.online_filtering=true"],
         "verl drops the groups that are all correct or all incorrect; expected accuracy"),
        (["algorithm.online_filtering=true", "algorithm.filter_key=accuracy", "algorithm.filter_low=0.3"],
         "expected at least 0 and below 0.125"),
        (["algorithm.online_filtering=true", "algorithm.filter_key=accuracy", "algorithm.filter_high=0.8"],
         "expected above 0.875 and at most 1"),
        (["worker.rollout.val_override_config={ignore_eos: true}"], "verl's validation has no ignore_eos"),
        (["trainer.n_gpus_per_node=6"], "expected a multiple of 6 GPUs"),
        (["worker.rollout.tensor_parallel_size=3"], "expected a divisor of 8 GPUs"),
        (["worker.actor.dynamic_batching=false", "worker.actor.micro_batch_size_per_device_for_update=48"],
         "expected a divisor of 64, the rollouts of one rank in an optimizer step"),
        (["data.max_response_length=99999"], "expected at least"),
        (["trainer.val_only=true", "trainer.val_before_train=false"], "verl validates before the first step only"),
    ],
)  # fmt: skip
def test_unsupported_values_are_refused_with_a_reason(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(*overrides)
    assert expected in str(caught.value)


def test_dr_grpo_is_translated() -> None:
    assert to_verl(recipe("algorithm.name=dr_grpo"))["actor_rollout_ref.actor.loss_scale_factor"] == 8192


def test_last_step_is_saved_and_validated_for_any_frequency() -> None:
    """verl itself does neither after the last step if its frequency is "never"."""
    never = to_verl(recipe("trainer.save_freq=-1", "trainer.val_freq=-1"))
    assert never["trainer.save_freq"] > 10**6 and never["trainer.test_freq"] > 10**6
    assert to_verl(recipe("trainer.val_freq=-1", "data.val_files=''"))["trainer.test_freq"] == -1
    some = to_verl(recipe("trainer.save_freq=7", "trainer.val_freq=3"))
    assert (some["trainer.save_freq"], some["trainer.test_freq"]) == (7, 3)
