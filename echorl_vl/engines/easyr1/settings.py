"""From `Config` to EasyR1's `PPOConfig`: keys are copied by name, and other settings are added in subclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from verl.trainer.config import PPOConfig
from verl.workers.config import ActorConfig, WorkerConfig

from echorl_vl.config import Config
from echorl_vl.core import EchoConfig

OUR_KEYS = frozenset(
    {
        "engine", "echo", "data.demonstration_key", "data.bad_traces", "data.bad_rows", "data.check_images",
        "data.trace_needs_box", "algorithm.name", "algorithm.options", "algorithm.norm_adv_by_std_in_grpo",
        "algorithm.dynamic_sampling", "algorithm.keep_all_success_groups", "worker.actor.entropy_coef",
        "worker.reward.time_limit", "worker.reward.on_error", "trainer.device", "trainer.max_bad_steps",
        "trainer.rollout_save_freq", "trainer.checkpoint_hash",
    }
)  # fmt: skip
"""Keys that EasyR1 lacks. The adapter implements all but the last, which only the local engine has."""

AUX_ONLY_FILTER = "aux_only_filter"
"""Part of the reward by which EasyR1 keeps groups that all succeed; see `rewards`."""

LOST = "not_scored"
"""Part of the reward in batches in which a row got no score: index into `KINDS` of each row."""

ON_POLICY = "on_policy"
"""Column (B,) bool of a batch with demonstrations: False for demonstrations."""


@dataclass
class EchoActorConfig(ActorConfig):
    """EasyR1's section `worker.actor` with further settings of the update, since workers see only `worker`.

    Attributes:
        entropy_coef: coefficient of the entropy bonus.
        prompts_per_update: prompts in one optimizer step, over all ranks. EasyR1's workers overwrite
            `global_batch_size` with a number of rollouts.
        max_response_length: in tokens.
        algorithm: name of the base algorithm.
        algorithm_options: its options.
        echo: the section `echo`.
    """

    entropy_coef: float = 0.0
    prompts_per_update: int = 1
    max_response_length: int = 1
    algorithm: str = "grpo"
    algorithm_options: dict[str, Any] = field(default_factory=dict)
    echo: EchoConfig = field(default_factory=EchoConfig)


@dataclass
class EchoWorkerConfig(WorkerConfig):
    """EasyR1's section `worker` with `EchoActorConfig`."""

    actor: EchoActorConfig = field(default_factory=EchoActorConfig)


@dataclass
class EchoPPOConfig(PPOConfig):
    """EasyR1's configuration with further settings of the driver.

    Attributes:
        worker: the section `worker`.
        ours: the configuration that it was made from.
        run_path: the run folder.
        resume_step: number of steps that it holds already; None for a new run.
    """

    worker: EchoWorkerConfig = field(default_factory=EchoWorkerConfig)
    ours: Config = field(default_factory=Config)
    run_path: str = ""
    resume_step: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The configuration that EasyR1 prints and logs: its own sections, and `echo`."""
        names = ("data", "worker", "algorithm", "trainer")
        return {name: dataclasses.asdict(getattr(self, name)) for name in names} | {
            "echo": dataclasses.asdict(self.ours.echo)
        }


def to_easyr1(config: Config) -> EchoPPOConfig:
    """Convert a configuration for EasyR1, whose `deep_post_init` has yet to be called.

    Raises:
        ValueError: neither EasyR1 nor the adapter has a key of `config`.
    """
    target = EchoPPOConfig(ours=config)
    _fill(target, config, "")
    actor = target.worker.actor
    actor.echo, actor.entropy_coef = config.echo, config.worker.actor.entropy_coef
    actor.prompts_per_update = config.worker.actor.global_batch_size
    actor.max_response_length = config.data.max_response_length
    actor.algorithm, actor.algorithm_options = config.algorithm.name, dict(config.algorithm.options)
    if config.algorithm.adv_estimator == "reinforce_rej":
        target.algorithm.adv_estimator = "grpo"  # EasyR1 only knows its own names; see `register_advantages`
    # EasyR1 expects one response per problem in validation, but samples `rollout.n` by default.
    target.worker.rollout.val_override_config = {"n": 1, **config.worker.rollout.val_override_config}
    if config.algorithm.keeps_all_success(config.echo.coef > 0):
        target.algorithm.filter_key = AUX_ONLY_FILTER
    return target


def _fill(target: Any, ours: Any, prefix: str) -> None:
    known = {item.name for item in dataclasses.fields(target) if item.init}
    for name in type(ours).model_fields:
        key, value = prefix + name, getattr(ours, name)
        if key in OUR_KEYS:
            continue
        if name not in known:
            raise ValueError(f"{key}: neither EasyR1 nor the adapter has this key")
        if isinstance(value, BaseModel):
            _fill(getattr(target, name), value, f"{key}.")
        else:
            setattr(target, name, value)
