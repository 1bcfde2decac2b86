"""The whole configuration: EasyR1's data, algorithm, worker and trainer, plus `echo:` and `engine:`.

EasyR1's files load unchanged. One default departs from it, in both sections that have it: `trust_remote_code` is false.
Keys that EasyR1 sets itself (such as `worker.actor.kl_coef`, a copy of `algorithm.kl_coef`) are accepted and have no
effect, as there (`KeyNames.derived`).
"""

from __future__ import annotations

import dataclasses
import typing
from collections import ChainMap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, InstanceOf, PrivateAttr, create_model

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.core.config import EchoConfig, attribute_docs

from .engines import ENGINES
from .fields import (
    Count,
    CountOrAll,
    Devices,
    Input,
    Output,
    Place,
    Positive,
    Problems,
    Processes,
    Rows,
    Section,
    Seed,
    Share,
    Text,
    Tokens,
    Weight,
    one_of,
    option,
    section,
)
from .worker import WorkerConfig

AlgorithmName, EngineName = one_of(ALGORITHMS), one_of(ChainMap(ENGINES, {"auto": None}))
Pixels = Annotated[int, Field(ge=1, le=10**9)]
Reward = Annotated[float, Field(ge=-(10**6), le=10**6)]
Logger = Literal["console", "file", "tensorboard", "wandb", "swanlab", "mlflow"]
Estimator = Literal["grpo", "grpo_passk", "rloo", "reinforce_rej", "reinforce_plus_plus", "gae", "remax"]


class DataConfig(Section):
    train_files: Problems = option(
        "", "training problems: a file, folder, pattern or hub id, each optionally followed by @split, or a list"
    )
    val_files: Problems = option("", "validation problems, in the same form; empty or null: none")
    prompt_key: str = option("prompt", "column of the question (text or chat messages); a.b: a nested column")
    answer_key: str = option("answer", "column of the correct answer")
    image_key: Text = option("images", "column of the images; empty or null: text-only problems")
    video_key: Text = option("videos", "column of the videos, for engines that read them; empty or null: none")
    demonstration_key: str | None = option(None, "column of the worked solution (also called data.trace_key)")
    bad_rows: Literal["error", "drop"] = option(
        "error", "rows that can't be used (unreadable image, empty answer, reserved token ...): stop, or skip them"
    )
    check_images: Literal["auto", "all", "off"] = option(
        "auto", "decode images at startup; auto: all of them, or those of 2000 problems if there are more than 10000"
    )
    bad_traces: Literal["drop", "error"] = option("drop", "invalid demonstrations: skip their problems, or stop")
    trace_needs_box: bool = option(True, "require \\boxed{} in demonstrations; false if the reward function needs none")
    image_dir: Input | None = option(None, "folder in which relative image paths are looked up")
    video_fps: Annotated[float, Field(gt=0, le=1000)] = option(2.0, "frames per second taken from a video")
    max_prompt_length: Tokens = option(512, "maximum tokens of a prompt, image tokens included")
    max_response_length: Tokens = option(512, "maximum tokens of a response")
    rollout_batch_size: Rows = option(512, "prompts per step")
    mini_rollout_batch_size: Rows | None = option(None, "prompts sampled at a time; null: all of a step")
    val_batch_size: CountOrAll = option(-1, "prompts validated at a time; -1: all")
    format_prompt: Input | None = option(None, "Jinja file that wraps the question ({{ content }})")
    override_chat_template: Input | None = option(None, "Jinja file that replaces the model's chat template")
    shuffle: bool = option(True, "shuffle the problems in each epoch")
    seed: Seed = option(1, "seed of the shuffling")
    min_pixels: Annotated[int, Field(ge=1, le=10**8)] | None = option(
        262144, "images with fewer pixels are enlarged to this number"
    )
    max_pixels: Pixels | None = option(4194304, "images with more pixels are reduced to this number")
    filter_overlong_prompts: bool = option(
        True,
        "skip prompts above max_prompt_length; false: treat them as bad rows (data.bad_rows); EasyR1 truncates them",
    )
    filter_overlong_prompts_workers: Processes = option(16, "processes that measure prompts")


class AlgorithmConfig(Section):
    name: AlgorithmName = option("grpo", "base algorithm, which sets other keys (see --help)")
    options: dict[Any, Any] = option({}, "options of the algorithm, such as {gamma: 0.1} for luffy")
    gamma: Share = option(1.0, "discount of later rewards (gae, reinforce_plus_plus)")
    lam: Share = option(1.0, "lambda of gae")
    adv_estimator: Estimator = option("grpo", "how rewards become advantages; remax: not supported by any engine yet")
    norm_adv_by_std_in_grpo: bool = option(True, "divide by the standard deviation of the group; false is Dr. GRPO")
    disable_kl: bool = option(False, "no reference policy and no KL at all")
    use_kl_loss: bool = option(False, "add the KL to the loss instead of the reward")
    kl_penalty: Literal["kl", "abs", "mse", "low_var_kl", "full"] = option(
        "kl", "KL estimator; full: not supported by any engine yet"
    )
    kl_coef: Weight = option(1e-3, "weight of the KL")
    kl_type: Literal["fixed", "adaptive"] = option("fixed", "fixed weight, or one that steers the KL to kl_target")
    kl_horizon: Annotated[float, Field(gt=0, le=1e12)] = option(
        10000.0, "adaptive: number of rollouts over which the weight adapts"
    )
    kl_target: Annotated[float, Field(gt=0, le=10**6)] = option(0.1, "adaptive: target of the mean KL per token (nats)")
    online_filtering: bool = option(False, "DAPO: drop groups by their mean reward and sample other prompts")
    filter_key: str = option("overall", "part of the reward that filter_low and filter_high refer to")
    filter_low: Reward = option(0.01, "groups with this mean or less are dropped")
    filter_high: Reward = option(0.99, "groups with this mean or more are dropped")
    dynamic_sampling: Literal["resample", "echo"] = option(
        "resample",
        "what online_filtering does with all-success groups: resample, or keep them for the echo term",
    )
    keep_all_success_groups: bool | None = option(
        None, "online_filtering keeps all-success groups, for the echo term alone; null: see dynamic_sampling"
    )

    @property
    def has_critic(self) -> bool:
        """Whether the advantages come from the values of a critic that is trained with the policy."""
        return self.adv_estimator == "gae"

    @property
    def trained_roles(self) -> list[str]:
        """The sections of `worker` whose models are updated."""
        return ["actor", "critic"] if self.has_critic else ["actor"]

    def keeps_all_success(self, has_echo_term: bool) -> bool:
        """Whether online_filtering keeps groups that all succeed in a step with, or without, an echo term."""
        if self.keep_all_success_groups is None:
            return self.dynamic_sampling == "echo" and has_echo_term
        return self.keep_all_success_groups


class TrainerConfig(Section):
    total_epochs: Positive = option(15, "passes over the training problems")
    max_steps: Positive | None = option(None, "number of training steps; overrides total_epochs; can be raised later")
    project_name: Output = option("easy_r1", "project name in loggers and in the default output folder")
    experiment_name: Output = option("demo", "run name in loggers and in the default output folder")
    logger: tuple[Logger, ...] = option(("console", "wandb"), "where metrics are logged")
    nnodes: Devices = option(1, "machines")
    n_gpus_per_node: Annotated[int, Field(ge=1, le=1024)] = option(8, "GPUs in each machine")
    max_try_make_batch: CountOrAll = option(20, "online_filtering: maximum rounds of sampling per step; -1: no limit")
    critic_warmup: Count = option(0, "training steps at the start in which only the critic is trained")
    val_freq: CountOrAll = option(
        -1, "training steps between two validations, and one after the last step; -1: after the last only"
    )
    val_before_train: bool = option(True, "validate before the first step")
    val_only: bool = option(False, "validate and stop")
    val_generations_to_log: Count = option(0, "validation responses sent to the loggers")
    save_freq: CountOrAll = option(
        -1, "training steps between two checkpoints, and one after the last step; -1: after the last only"
    )
    save_limit: CountOrAll = option(-1, "checkpoints to keep; -1: all")
    save_model_only: bool = option(
        False, "save checkpoints without optimizer state; engines may keep that of the newest (docs/runs.md)"
    )
    checkpoint_hash: Literal["auto", "all", "off"] = option(
        "auto", "store the SHA-256 of checkpoint files to detect damage; auto: only of files of at most 1 GiB"
    )
    save_checkpoint_path: Output | None = option(None, "output folder; null: checkpoints/project_name/experiment_name")
    load_checkpoint_path: Input | None = option(None, "checkpoint to start from")
    ray_timeline: Output | None = option(None, "file for Ray's timeline")
    find_last_checkpoint: bool = option(True, "resume from the newest checkpoint in the output folder")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "auto: a GPU if available; cpu: no GPU (a CPU dry run on engines that need one)"
    )
    max_bad_steps: Positive = option(
        5, "stop after this many consecutive optimizer steps were skipped because they were not finite (NaN)"
    )
    rollout_save_freq: Count = option(1, "training steps between two rollout files (parquet); 0: no files")

    @property
    def output_folder(self) -> Path:
        """The folder of the run."""
        return Path(self.save_checkpoint_path or Path("checkpoints") / self.project_name / self.experiment_name)


_ECHO_TYPES = typing.get_type_hints(EchoConfig) | {"select": Annotated[str, Place("selector")]}
EchoSection = create_model(
    "EchoSection",
    __base__=Section,
    **{
        one.name: (
            _ECHO_TYPES[one.name],
            option({} if one.default is dataclasses.MISSING else one.default, attribute_docs(EchoConfig)[one.name]),
        )
        for one in dataclasses.fields(EchoConfig)
    },
)
"""The types of `EchoConfig`, which needs no pydantic in the core and checks its ranges itself."""


def _echo_config(value: Any) -> EchoConfig:
    return value if isinstance(value, EchoConfig) else EchoConfig(**EchoSection.model_validate(value).model_dump())


@dataclass(frozen=True)
class Source:
    """Where the values of a Config came from.

    Attributes:
        path: The file.
        origins: Dotted key -> "file line 7" or "command line".
        derived: Key that EasyR1 sets itself -> the value given for it, and its origin.
    """

    path: Path
    origins: dict[str, str]
    derived: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """Where the value of a dotted key came from; "default" where nobody set it."""
        while key and key not in self.origins:
            key = key.rpartition(".")[0]
        return self.origins.get(key, "default")


class Config(Section):
    """The resolved configuration. `load_config` makes checked ones; `Config()` holds the defaults, unchecked."""

    data: DataConfig = section(DataConfig, "problems")
    algorithm: AlgorithmConfig = section(AlgorithmConfig, "advantages and KL")
    worker: WorkerConfig = section(WorkerConfig, "models, sampling, reward")
    trainer: TrainerConfig = section(TrainerConfig, "length of training, logging, checkpoints")
    echo: Annotated[InstanceOf[EchoConfig], BeforeValidator(_echo_config)] = Field(
        default_factory=EchoConfig,
        description="the clips of the echo term, and its weight",
        json_schema_extra={"section": EchoSection},
    )
    engine: EngineName = option("auto", "what runs the training (see --help); auto: the first that fits this machine")

    _source: Source | None = PrivateAttr(None)

    @property
    def source(self) -> Source | None:
        """Where the values came from; None for a Config that `load_config` did not make."""
        return self._source

    @source.setter
    def source(self, source: Source | None) -> None:
        self._source = source

    def __eq__(self, other: object) -> bool:
        """Equal values, wherever they came from."""
        return isinstance(other, Config) and self.__dict__ == other.__dict__

    def origin(self, key: str) -> str:
        """Where the value of a dotted key came from, for messages."""
        return self.source.origin(key) if self.source else "default"
