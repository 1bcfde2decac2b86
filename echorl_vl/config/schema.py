"""The whole configuration: EasyR1's data, algorithm, worker and trainer, plus `echo:` and `engine:`.

EasyR1's files load unchanged. One default departs from it, in both sections that have it: `trust_remote_code` is false.
Keys that EasyR1 sets itself (such as `worker.actor.kl_coef`, a copy of `algorithm.kl_coef`) are accepted and have no
effect, as there (`derived` of its `KeyNames`).

Some keys steer vLLM, FSDP or Ray. An engine without these ignores them, so that one file serves all; each engine
declares which (`ignores`), and the help names the engines that use a key.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, create_model

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.core.config import EchoConfig, attribute_docs

from .fields import Choices, Function, Input, Output, Problems, Section, Text, option, section, walk
from .names import ENGINES

# Every number has an upper bound. Without one, a typo shows up minutes later as an OverflowError, a MemoryError or a
# run that never starts. A billion allows for what people write to mean "no limit".
Tokens = Annotated[int, Field(ge=1, le=2**20)]
Length = Annotated[int, Field(ge=1, le=2**21)]
Pixels = Annotated[int, Field(ge=1, le=10**8)]
GroupSize = Annotated[int, Field(ge=1, le=10_000)]
Rows = Annotated[int, Field(ge=1, le=10_000_000)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Positive = Annotated[int, Field(ge=1, le=10**9)]
CountOrAll = Annotated[int, Field(ge=-1, le=10**9)]  # -1 is no limit, or never
Devices = Annotated[int, Field(ge=1, le=100_000)]
Processes = Annotated[int, Field(ge=1, le=1024)]
Passes = Annotated[int, Field(ge=1, le=1000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
AboveOne = Annotated[float, Field(gt=1, le=10**6)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Weight = Annotated[float, Field(ge=0, le=10**6)]
MaxNorm = Annotated[float, Field(gt=0, le=10**9)]
PositiveWeight = Annotated[float, Field(gt=0, le=10**6)]
Reward = Annotated[float, Field(ge=-(10**6), le=10**6)]

AVERAGES = "token: mean over all tokens; seq: mean over the token means of the rollouts"  # of `loss_avg_mode`
AlgorithmName = Annotated[str, Choices(ALGORITHMS)]
EngineName = Annotated[str, Choices(ENGINES, {"auto": None})]
Logger = Literal["console", "file", "tensorboard", "wandb", "swanlab", "mlflow"]
Estimator = Literal["grpo", "grpo_passk", "rloo", "reinforce_rej", "reinforce_plus_plus", "gae", "remax"]
KLPenalty = Literal["kl", "abs", "mse", "low_var_kl", "full"]
LossType = Literal["default", "gspo", "gspo_token", "cispo", "sapo"]
Dtype = Literal["bf16", "bfloat16", "fp16", "float16", "fp32", "float32"]


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
    min_pixels: Pixels | None = option(262144, "images with fewer pixels are enlarged to this number")
    max_pixels: Positive | None = option(4194304, "images with more pixels are reduced to this number")
    filter_overlong_prompts: bool = option(
        True,
        "skip prompts above max_prompt_length; false: they are bad rows (data.bad_rows); EasyR1 truncates them",
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
    kl_penalty: KLPenalty = option("kl", "KL estimator; full: not supported by any engine yet")
    kl_coef: Weight = option(1e-3, "weight of the KL")
    kl_type: Literal["fixed", "adaptive"] = option("fixed", "fixed weight, or one that steers the KL to kl_target")
    kl_horizon: Annotated[float, Field(gt=0, le=1e12)] = option(1e4, "adaptive: rollouts over which the weight adapts")
    kl_target: Annotated[float, Field(gt=0, le=10**6)] = option(0.1, "adaptive: target of the mean KL per token (nats)")
    online_filtering: bool = option(False, "DAPO: drop groups by their mean reward and sample other prompts")
    filter_key: str = option("overall", "part of the reward that filter_low and filter_high refer to")
    filter_low: Reward = option(0.01, "groups with this mean or less are dropped")
    filter_high: Reward = option(0.99, "groups with this mean or more are dropped")
    dynamic_sampling: Literal["resample", "echo"] = option(
        "resample", "what online_filtering does with all-success groups: resample, or keep them for the echo term"
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
    val_freq: CountOrAll = option(-1, "steps between two validations, and one after the last; -1: after the last only")
    val_before_train: bool = option(True, "validate before the first step")
    val_only: bool = option(False, "validate and stop")
    val_generations_to_log: Count = option(0, "validation responses sent to the loggers")
    save_freq: CountOrAll = option(-1, "steps between two checkpoints, and one after the last; -1: after the last only")
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
    max_bad_steps: Positive = option(5, "stop after this many optimizer steps in a row were skipped: not finite (NaN)")
    rollout_save_freq: Count = option(1, "training steps between two rollout files (parquet); 0: no files")

    @property
    def output_folder(self) -> Path:
        """The folder of the run."""
        return Path(self.save_checkpoint_path or Path("checkpoints") / self.project_name / self.experiment_name)


class LoraConfig(Section):
    rank: Annotated[int, Field(ge=0, le=65_536)] = option(0, "rank of the LoRA matrices; 0: train all weights")
    alpha: Annotated[int, Field(ge=1, le=10**6)] = option(64, "LoRA scale: updates are multiplied by alpha / rank")
    target_modules: str = option("all-linear", "all-linear, or module names separated by commas (q_proj,v_proj)")
    exclude_modules: str | None = option(None, "regular expression of module names without LoRA, such as .*visual.*")


class ModelConfig(Section):
    model_path: Input | None = option(None, "folder or hub id of the model")
    tokenizer_path: Input | None = option(None, "folder or hub id of tokenizer and processor; null: model_path")
    override_config: dict[Any, Any] = option({}, "entries that replace those of the model's own config")
    enable_gradient_checkpointing: bool = option(True, "recompute activations in backward passes: less memory, slower")
    trust_remote_code: bool = option(False, "run Python code that comes with the model")
    freeze_vision_tower: bool = option(False, "keep the weights of the vision tower fixed")
    lora: LoraConfig = section(LoraConfig, "low-rank adapters instead of full training")


class OptimConfig(Section):
    lr: Share = option(1e-6, "peak learning rate")
    betas: tuple[ShareBelowOne, ShareBelowOne] = option((0.9, 0.999), "the two decay rates of AdamW")
    weight_decay: Weight = option(1e-2, "AdamW's decoupled weight decay")
    strategy: Literal["adamw", "adamw_bf16"] = option("adamw", "optimizer")
    lr_warmup_ratio: Share = option(0.0, "warm-up as a share of all training steps")
    lr_warmup_steps: Count | None = option(None, "warm-up in training steps; overrides lr_warmup_ratio")
    min_lr_ratio: Share | None = option(None, "learning rate at the end of the decay, as a share of lr; null: 0")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = option("constant", "learning rate after the warm-up")


class FSDPConfig(Section):
    enable_full_shard: bool = option(True, "shard parameters as well as gradients")
    enable_cpu_offload: bool = option(False, "FSDP keeps parameters in CPU memory")
    enable_rank0_init: bool = option(True, "load weights on rank 0 only and broadcast them")
    use_orig_params: bool = option(False, "FSDP exposes the original parameters")
    torch_dtype: Dtype | None = option(None, "dtype of the weights; null: fp32 if they are trained")
    fsdp_size: Annotated[int, Field(ge=-1, le=100_000)] = option(-1, "devices in one shard group; -1: all")
    mp_param_dtype: Dtype = option("bf16", "mixed precision: dtype of the forward pass on GPUs")
    mp_reduce_dtype: Dtype = option("fp32", "mixed precision: dtype in which gradients are reduced")
    mp_buffer_dtype: Dtype = option("fp32", "mixed precision: dtype of buffers")


class OffloadConfig(Section):
    offload_params: bool = option(False, "move parameters to CPU memory while they are idle")
    offload_optimizer: bool = option(False, "move the optimizer's state to CPU memory while it is idle")


class TrainedConfig(Section):
    """What the policy and the critic have in common."""

    strategy: str = option("fsdp", "how the model is sharded")
    global_batch_size: Rows = option(256, "prompts per optimizer step; divides data.rollout_batch_size")
    micro_batch_size_per_device_for_update: Rows = option(4, "rollouts per forward pass of the update")
    micro_batch_size_per_device_for_experience: Rows = option(16, "rollouts per forward pass without gradients")
    max_grad_norm: MaxNorm = option(1.0, "maximum norm of the gradient; larger gradients are scaled down")
    ppo_epochs: Passes = option(1, "passes over the rollouts of a step")
    dynamic_batching: bool = option(True, "fill micro-batches by tokens instead of rows")
    ulysses_size: Devices = option(1, "devices that share one sequence")
    model: ModelConfig = section(ModelConfig, "the model that is trained")
    optim: OptimConfig = section(OptimConfig, "optimizer and learning rate")
    fsdp: FSDPConfig = section(FSDPConfig, "sharding and precision")
    offload: OffloadConfig = section(OffloadConfig, "CPU offload")


class ActorConfig(TrainedConfig):
    clip_ratio_low: ShareBelowOne = option(0.2, "the probability ratio is clipped below 1 - this")
    clip_ratio_high: Weight = option(0.3, "the probability ratio is clipped above 1 + this")
    clip_ratio_dual: AboveOne = option(3.0, "dual clip: maximum ratio where the advantage is negative")
    loss_avg_mode: Literal["token", "seq", "constant"] = option(
        "token", f"{AVERAGES}; constant: sum over tokens / (rollouts x max_response_length)"
    )
    loss_type: LossType = option("default", "policy loss; default: PPO's clipped loss")
    padding_free: bool = option(True, "pack sequences without padding, or share the prompt among rollouts")
    use_torch_compile: bool = option(True, "compile the log-prob function")
    tau_positive: PositiveWeight = option(1.0, "sapo: temperature of the gate where the advantage is positive")
    tau_negative: PositiveWeight = option(1.05, "sapo: temperature of the gate where the advantage is negative")
    entropy_coef: Weight = option(0.0, "weight of the entropy bonus (nats); the paper uses 0.001")


class CriticConfig(TrainedConfig):
    cliprange_value: PositiveWeight = option(0.5, "maximum change of a value in one step")
    loss_avg_mode: Literal["token", "seq"] = option("token", AVERAGES)
    padding_free: bool = option(False, "pack sequences without padding")


class RefConfig(Section):
    strategy: str = option("fsdp", "how the reference is sharded")
    fsdp: FSDPConfig = section(FSDPConfig, "sharding and precision of the reference")
    offload: OffloadConfig = section(OffloadConfig, "CPU offload of the reference")


class RolloutConfig(Section):
    name: str = option("vllm", "sampler")
    n: GroupSize = option(1, "rollouts per prompt (the group); at least 2 with grpo, grpo_passk, rloo, reinforce_rej")
    temperature: Annotated[float, Field(ge=0, le=100)] = option(
        1.0, "sampling temperature, also used for log-probs and entropies; 0 (greedy): validation only"
    )
    top_p: PositiveShare = option(1.0, "sample from the smallest set of tokens with this much probability")
    top_k: CountOrAll = option(-1, "sample from the k most likely tokens; -1: all")
    seed: Seed = option(1, "seed of the sampler")
    limit_images: Annotated[int, Field(ge=0, le=10_000)] = option(0, "maximum images per prompt; 0: vLLM's own limit")
    dtype: Dtype = option("bf16", "dtype of sampling")
    gpu_memory_utilization: PositiveShare = option(0.6, "share of GPU memory for vLLM")
    ignore_eos: bool = option(False, "continue after the end token; EasyR1 then cuts the response there")
    enforce_eager: bool = option(False, "no CUDA graphs in vLLM")
    enable_chunked_prefill: bool = option(False, "vLLM splits long prompts")
    tensor_parallel_size: Devices = option(2, "GPUs that share one copy of the sampler")
    max_model_len: Length | None = option(None, "maximum tokens of prompt and response; null: the sum of their limits")
    max_num_batched_tokens: Positive = option(8192, "tokens in one vLLM batch")
    disable_log_stats: bool = option(True, "vLLM logs no statistics")
    disable_tqdm: bool = option(False, "no progress bar while sampling")
    val_override_config: dict[Any, Any] = option(
        {}, "sampling in validation, such as {n: 1}; keys: n, temperature, top_p, top_k, seed, ignore_eos"
    )


class RewardConfig(Section):
    reward_function: Function | None = option(None, "path.py:function, in EasyR1's interface (without a name: main)")
    reward_function_kwargs: dict[Any, Any] = option({}, "keyword arguments of the reward function")
    skip_special_tokens: bool = option(True, "the reward function gets responses without special tokens")
    num_cpus: Processes = option(1, "processes that compute rewards")
    time_limit: Seconds = option(10.0, "time limit per answer in seconds; slower answers get reward 0")
    on_error: Literal["stop", "zero"] = option("stop", "if a reward function raises an error: stop, or give reward 0")


class WorkerConfig(Section):
    hybrid_engine: bool = option(True, "policy and sampler share the same devices")
    actor: ActorConfig = section(ActorConfig, "the policy and its update")
    rollout: RolloutConfig = section(RolloutConfig, "sampling")
    ref: RefConfig = section(RefConfig, "the reference policy of the KL term")
    reward: RewardConfig = section(RewardConfig, "reward function and its workers")
    critic: CriticConfig = section(CriticConfig, "the value model of gae")


_DOCS, _TYPES = attribute_docs(EchoConfig), typing.get_type_hints(EchoConfig) | {"select": Function}
_ECHO = {name: (_TYPES[name], option(getattr(EchoConfig, name, {}), _DOCS[name])) for name in _TYPES}
EchoSection = create_model("EchoSection", __base__=Section, **_ECHO)
"""The types of `EchoConfig`, which needs no pydantic in the core and checks its ranges itself."""
Echo = Annotated[EchoSection, AfterValidator(lambda section: EchoConfig(**dict(section)))]


@dataclass(frozen=True)
class Source:
    """Where the values of a Config came from.

    Attributes:
        folder: The folder of the file; None if there is no file.
        origins: Dotted key -> "file line 7" or "command line".
        derived: Key that EasyR1 sets itself -> the value given for it, and its origin.
    """

    folder: Path | None = None
    origins: dict[str, str] = field(default_factory=dict)
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
    echo: Echo = section(EchoConfig, "the clips of the echo term, and its weight")
    engine: EngineName = option("auto", "what runs the training (see --help); auto: the first that fits this machine")

    _source: Source = PrivateAttr(Source())

    @property
    def source(self) -> Source:
        """Where the values came from."""
        return self._source

    def __eq__(self, other: object) -> bool:
        """Equal values, wherever they came from."""
        return isinstance(other, Config) and self.__dict__ == other.__dict__

    def origin(self, key: str) -> str:
        """Where the value of a dotted key came from, for messages."""
        return self.source.origin(key)


_KEYS = list(walk(Config))
OPTIONS = {one.key: one for one in _KEYS if not one.is_section}
"""Dotted key -> description of every value, in the order of the schema."""
SECTIONS = {one.key: one for one in _KEYS if one.is_section}
"""Dotted key -> description of every section."""
