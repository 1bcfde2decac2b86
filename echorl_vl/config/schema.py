"""The whole configuration: EasyR1's data, algorithm, worker and trainer, plus `echo:` and `engine:`.

EasyR1's files load unchanged. One default departs from it, in both sections that have it: `trust_remote_code` is false.
Fields that it derives (such as `worker.actor.kl_coef`, copied from `algorithm.kl_coef` at start) are accepted and have
no effect, as there (`names.DERIVED`).
"""

# ruff: noqa: RUF009  (option() and section() return dataclasses.field)

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.core.config import EchoConfig

from .limits import BILLION, LARGE, MOST_DEVICES, MOST_PROCESSES, MOST_ROWS, MOST_SEED, MOST_TOKENS
from .options import option, section
from .worker import WorkerConfig

if TYPE_CHECKING:
    from .issues import ConfigIssue

ADVANTAGE_ESTIMATORS = ("grpo", "grpo_passk", "rloo", "reinforce_rej", "reinforce_plus_plus", "gae", "remax")
KL_PENALTIES = ("kl", "abs", "mse", "low_var_kl", "full")
LOGGERS = ("console", "file", "tensorboard", "wandb", "swanlab", "mlflow")


class ConfiguredEngine(Protocol):
    """What a configuration and its help ask of an engine; see `echorl_vl.engines.base.Engine`."""

    summary: str
    accepts: Mapping[str, tuple[tuple[Any, ...], str]]
    ignores: Collection[str]

    def issues(self, config: Config) -> list[ConfigIssue]: ...


ENGINES: dict[str, ConfiguredEngine] = {}
"""What `engine` may be; filled by `import echorl_vl.engines`, so that no engine is named here."""


@dataclass
class DataConfig:
    train_files: str | list[str] = option(
        "",
        "training problems: file, folder, pattern or hub id, each with @split, or a list of them (docs/data.md)",
        null="",
    )
    val_files: str | list[str] = option(
        "", "validation problems, written the same way; empty or null: no validation", null=""
    )
    prompt_key: str = option(
        "prompt", "column of the question: text or chat messages; a dot leads into a nested column"
    )
    answer_key: str = option("answer", "column of the right answer")
    image_key: str = option("images", "column of the pictures; empty or null: a set of texts", null="")
    video_key: str = option("videos", "column of the videos, if the engine reads any; empty or null: none", null="")
    demonstration_key: str | None = option(
        None, "column of the demonstration, a worked solution (also called data.trace_key); null: none"
    )
    bad_rows: str = option(
        "error",
        "rows that can't be used (unreadable picture, empty answer, reserved token ...): stop, or leave them out",
        choices=("error", "drop"),
    )
    check_images: str = option(
        "auto",
        "decode every picture at start; auto: of up to 10000 problems all, of more those of 2000",
        choices=("auto", "all", "off"),
    )
    bad_traces: str = option(
        "drop", "a demonstration that can't be used: leave its problem out, or stop", choices=("drop", "error")
    )
    trace_needs_box: bool = option(
        True, "a demonstration without \\boxed{} can't be used; false for a reward that reads others"
    )
    image_dir: str | None = option(None, "folder that relative picture paths start from")
    video_fps: float = option(2.0, "frames a second taken from a video", above=0, at_most=1000)
    max_prompt_length: int = option(
        512, "most tokens of a prompt, its image tokens included", at_least=1, at_most=MOST_TOKENS
    )
    max_response_length: int = option(512, "most tokens of a response", at_least=1, at_most=MOST_TOKENS)
    rollout_batch_size: int = option(512, "prompts in one step", at_least=1, at_most=MOST_ROWS)
    mini_rollout_batch_size: int | None = option(
        None, "prompts sampled at a time; null: all of a step", at_least=1, at_most=MOST_ROWS
    )
    val_batch_size: int = option(-1, "prompts validated at a time; -1: all", at_least=-1, at_most=BILLION)
    format_prompt: str | None = option(None, "Jinja file that wraps the question ({{ content }})")
    override_chat_template: str | None = option(None, "Jinja file in place of the model's chat template")
    shuffle: bool = option(True, "new order of problems in each epoch")
    seed: int = option(1, "seed of the order of problems", at_least=0, at_most=MOST_SEED)
    min_pixels: int | None = option(
        262144, "smaller pictures are enlarged to this many pixels", at_least=1, at_most=100_000_000
    )
    max_pixels: int | None = option(
        4194304, "larger pictures are reduced to this many pixels", at_least=1, at_most=BILLION
    )
    filter_overlong_prompts: bool = option(
        True,
        "drop problems above max_prompt_length; false: they are rows that can't be used (data.bad_rows), but EasyR1 "
        "itself cuts their end off",
    )
    filter_overlong_prompts_workers: int = option(
        16, "processes that measure prompts", at_least=1, at_most=MOST_PROCESSES
    )


@dataclass
class AlgorithmConfig:
    name: str = option(
        "grpo", "base algorithm; naming one sets the keys that define it (--help lists them)", choices=ALGORITHMS
    )
    options: dict[str, Any] = option({}, "options of the algorithm: {gamma: 0.1} of luffy")
    gamma: float = option(1.0, "discount of later rewards (gae, reinforce_plus_plus)", at_least=0, at_most=1)
    lam: float = option(1.0, "lambda of gae", at_least=0, at_most=1)
    adv_estimator: str = option(
        "grpo", "how rewards become advantages; remax: no engine yet", choices=ADVANTAGE_ESTIMATORS
    )
    norm_adv_by_std_in_grpo: bool = option(True, "divide by the group's standard deviation; false is Dr. GRPO")
    disable_kl: bool = option(False, "no reference policy and no KL at all")
    use_kl_loss: bool = option(False, "KL as a term of the loss instead of a part of the reward")
    kl_penalty: str = option("kl", "estimator of the KL; full: no engine yet", choices=KL_PENALTIES)
    kl_coef: float = option(1e-3, "weight of the KL", at_least=0, at_most=LARGE)
    kl_type: str = option(
        "fixed", "fixed weight, or one that steers the KL to kl_target", choices=("fixed", "adaptive")
    )
    kl_horizon: float = option(10000.0, "adaptive: rollouts over which the weight moves", above=0, at_most=1e12)
    kl_target: float = option(0.1, "adaptive: mean KL of a token to steer to (nats)", above=0, at_most=LARGE)
    online_filtering: bool = option(False, "DAPO: drop groups by mean reward and sample again")
    filter_key: str = option("overall", "part of the reward that filtering looks at")
    filter_low: float = option(0.01, "groups with this mean or less are dropped", at_least=-LARGE, at_most=LARGE)
    filter_high: float = option(0.99, "groups with this mean or more are dropped", at_least=-LARGE, at_most=LARGE)
    dynamic_sampling: str = option(
        "resample",
        "online_filtering of groups that all succeed: drop and resample, or keep while there is an echo term",
        choices=("resample", "echo"),
    )
    keep_all_success_groups: bool | None = option(
        None, "online_filtering keeps groups that all succeed, for the echo term alone; null: as dynamic_sampling says"
    )

    @property
    def has_critic(self) -> bool:
        """Whether the advantages are made of the values of a model that is trained beside the policy."""
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


@dataclass
class TrainerConfig:
    total_epochs: int = option(15, "passes over the training problems", at_least=1, at_most=BILLION)
    max_steps: int | None = option(
        None, "steps to train, over total_epochs; can be raised later", at_least=1, at_most=BILLION
    )
    project_name: str = option("easy_r1", "project name in loggers and in the default output folder")
    experiment_name: str = option("demo", "run name in loggers and in the default output folder")
    logger: tuple[str, ...] = option(("console", "wandb"), "where metrics go", choices=LOGGERS)
    nnodes: int = option(1, "machines", at_least=1, at_most=MOST_DEVICES)
    n_gpus_per_node: int = option(8, "GPUs in each machine", at_least=1, at_most=1024)
    max_try_make_batch: int = option(
        20, "most rounds of sampling for a step with online_filtering; -1: no limit", at_least=-1, at_most=BILLION
    )
    critic_warmup: int = option(0, "steps in which only the critic learns", at_least=0, at_most=BILLION)
    val_freq: int = option(
        -1, "validate every so many steps and after the last; -1: after the last only", at_least=-1, at_most=BILLION
    )
    val_before_train: bool = option(True, "validate before the first step")
    val_only: bool = option(False, "validate and stop")
    val_generations_to_log: int = option(0, "validation responses sent to the loggers", at_least=0, at_most=BILLION)
    save_freq: int = option(
        -1,
        "save a checkpoint every so many steps and after the last; -1: after the last only",
        at_least=-1,
        at_most=BILLION,
    )
    save_limit: int = option(-1, "checkpoints to keep; -1: all", at_least=-1, at_most=BILLION)
    save_model_only: bool = option(
        False,
        "checkpoints without the optimizer's state; an engine may keep the newest one's (docs/runs.md)",
    )
    checkpoint_hash: str = option(
        "auto",
        "files of a checkpoint whose sha256 is written, to tell a damaged one: those of at most 1 GiB, all or none",
        choices=("auto", "all", "off"),
    )
    save_checkpoint_path: str | None = option(None, "output folder; null: checkpoints/project_name/experiment_name")
    load_checkpoint_path: str | None = option(None, "checkpoint to start from")
    ray_timeline: str | None = option(None, "file for Ray's timeline")
    find_last_checkpoint: bool = option(True, "go on from the newest checkpoint in the output folder")
    device: str = option(
        "auto",
        "auto: a GPU where there is one; cpu: none is used, which is a CPU dry run of an engine that needs one",
        choices=("auto", "cpu", "cuda"),
    )
    max_bad_steps: int = option(5, "stop after so many steps in a row skipped for NaN", at_least=1, at_most=BILLION)
    rollout_save_freq: int = option(
        1, "write the rollouts to parquet every so many steps; 0: never", at_least=0, at_most=BILLION
    )

    @property
    def output_folder(self) -> Path:
        """Where the run goes."""
        return Path(self.save_checkpoint_path or Path("checkpoints") / self.project_name / self.experiment_name)


@dataclass(frozen=True)
class Source:
    """Where the values of a Config came from: the file, and dotted key -> "file line 7" or "command line".

    derived: key that EasyR1 writes over at start (`names.DERIVED`) -> the value given for it, and where.
    """

    path: Path
    origins: dict[str, str]
    derived: dict[str, tuple[Any, str]] = field(default_factory=dict)


@dataclass
class Config:
    """The resolved configuration. `load_config` makes checked ones; `Config()` holds the defaults, unchecked."""

    data: DataConfig = section(DataConfig, "problems")
    algorithm: AlgorithmConfig = section(AlgorithmConfig, "advantages and KL")
    worker: WorkerConfig = section(WorkerConfig, "models, sampling, grading")
    trainer: TrainerConfig = section(TrainerConfig, "length of training, logging, checkpoints")
    echo: EchoConfig = section(EchoConfig, "EchoRL: which clips are echoed, and how much")
    engine: str = option(
        "auto",
        "what trains (--help lists the engines); auto: the first that this machine has what it needs for",
        choices=ChainMap(ENGINES, {"auto": None}),
    )

    # Not a field: it is neither written to YAML nor compared. load_config sets it on the instance.
    source: ClassVar[Source | None] = None

    def origin(self, key: str) -> str:
        """Where the value of a dotted key came from, for messages; "default" where nobody set it."""
        origins = self.source.origins if self.source else {}
        while key:
            if key in origins:
                return origins[key]
            key = key.rpartition(".")[0]
        return "default"
