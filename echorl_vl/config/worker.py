"""The `worker:` section: policy, rollout, reference, reward and critic. Names and meanings are EasyR1's.

Some steer vLLM, FSDP or Ray, and an engine without these ignores them, so that one file serves all; an engine declares
which (`ignores`), and the help names the engines that act on a key.
"""

# ruff: noqa: RUF009  (option() and section() return dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .limits import BILLION, LARGE, MOST_DEVICES, MOST_PROCESSES, MOST_ROWS, MOST_SEED, MOST_TOKENS
from .options import option, section

DTYPES = ("bf16", "bfloat16", "fp16", "float16", "fp32", "float32")


@dataclass
class LoraConfig:
    rank: int = option(0, "rank of the LoRA matrices; 0 trains the whole model", at_least=0, at_most=65_536)
    alpha: int = option(64, "LoRA scale: updates count alpha / rank", at_least=1, at_most=LARGE)
    target_modules: str = option("all-linear", "all-linear, or module names with commas (q_proj,v_proj)")
    exclude_modules: str | None = option(None, "regular expression of module names without LoRA, e.g. .*visual.*")


@dataclass
class ModelConfig:
    model_path: str | None = option(None, "folder or hub id of the model")
    tokenizer_path: str | None = option(None, "folder or hub id of tokenizer and processor; null: model_path")
    override_config: dict[str, Any] = option({}, "entries that replace those of the model's own config")
    enable_gradient_checkpointing: bool = option(
        True, "recompute activations in the backward pass: less memory, slower"
    )
    trust_remote_code: bool = option(False, "run Python code that comes with the model; off unless asked for")
    freeze_vision_tower: bool = option(False, "keep the vision tower's weights fixed")
    lora: LoraConfig = section(LoraConfig, "low-rank adapters in place of full training")


@dataclass
class OptimConfig:
    lr: float = option(1e-6, "peak learning rate", at_least=0, at_most=1)
    betas: tuple[float, float] = option((0.9, 0.999), "AdamW's two decay rates", at_least=0, below=1)
    weight_decay: float = option(1e-2, "AdamW's decoupled weight decay", at_least=0, at_most=LARGE)
    strategy: str = option("adamw", "optimizer", choices=("adamw", "adamw_bf16"))
    lr_warmup_ratio: float = option(0.0, "share of all training steps with a rising rate", at_least=0, at_most=1)
    lr_warmup_steps: int | None = option(
        None, "warm-up length in training steps; overrides lr_warmup_ratio", at_least=0, at_most=BILLION
    )
    min_lr_ratio: float | None = option(None, "where decay ends, as a share of lr; null: 0", at_least=0, at_most=1)
    lr_scheduler_type: str = option("constant", "learning rate after warm-up", choices=("constant", "linear", "cosine"))


@dataclass
class FSDPConfig:
    enable_full_shard: bool = option(True, "shard parameters as well as gradients")
    enable_cpu_offload: bool = option(False, "FSDP keeps parameters in CPU memory")
    enable_rank0_init: bool = option(True, "load weights on rank 0 only and broadcast them")
    use_orig_params: bool = option(False, "FSDP shows the original parameters")
    torch_dtype: str | None = option(None, "dtype in which weights are kept; null: fp32 if trained", choices=DTYPES)
    fsdp_size: int = option(-1, "devices in one shard group; -1: all", at_least=-1, at_most=MOST_DEVICES)
    mp_param_dtype: str = option("bf16", "mixed precision: dtype of the forward pass on GPUs", choices=DTYPES)
    mp_reduce_dtype: str = option("fp32", "dtype of gradient reduction", choices=DTYPES)
    mp_buffer_dtype: str = option("fp32", "dtype of buffers", choices=DTYPES)


@dataclass
class OffloadConfig:
    offload_params: bool = option(False, "park parameters in CPU memory while idle")
    offload_optimizer: bool = option(False, "park optimizer state in CPU memory while idle")


@dataclass
class ActorConfig:
    strategy: str = option("fsdp", "how the policy is sharded")
    global_batch_size: int = option(
        256, "prompts in one optimizer step; divides data.rollout_batch_size", at_least=1, at_most=MOST_ROWS
    )
    micro_batch_size_per_device_for_update: int = option(
        4, "rollouts in one forward pass of the update", at_least=1, at_most=MOST_ROWS
    )
    micro_batch_size_per_device_for_experience: int = option(
        16, "rollouts in one forward pass that only computes log-probs", at_least=1, at_most=MOST_ROWS
    )
    max_grad_norm: float = option(1.0, "gradients are scaled down to this norm", above=0, at_most=BILLION)
    clip_ratio_low: float = option(0.2, "the probability ratio is clipped below 1 - this", at_least=0, below=1)
    clip_ratio_high: float = option(0.3, "the probability ratio is clipped above 1 + this", at_least=0, at_most=LARGE)
    clip_ratio_dual: float = option(
        3.0, "dual clip: bound of the ratio where the advantage is negative", above=1, at_most=LARGE
    )
    loss_avg_mode: str = option(
        "token",
        "mean over tokens; or first within each rollout; or sum over tokens / (rollouts x max_response_length)",
        choices=("token", "seq", "constant"),
    )
    loss_type: str = option(
        "default", "policy loss; default is PPO's clip", choices=("default", "gspo", "gspo_token", "cispo", "sapo")
    )
    ppo_epochs: int = option(1, "passes over the rollouts of a step", at_least=1, at_most=1000)
    padding_free: bool = option(
        True, "pack sequences without padding, or compute a prompt once for its rollouts of a micro-batch"
    )
    dynamic_batching: bool = option(True, "micro-batches by tokens instead of rows")
    ulysses_size: int = option(1, "devices that share one sequence", at_least=1, at_most=MOST_DEVICES)
    use_torch_compile: bool = option(True, "compile the log-prob function")
    tau_positive: float = option(
        1.0, "sapo: temperature of the gate where the advantage is positive", above=0, at_most=LARGE
    )
    tau_negative: float = option(
        1.05, "sapo: temperature of the gate where the advantage is negative", above=0, at_most=LARGE
    )
    entropy_coef: float = option(
        0.0, "weight of the entropy bonus (nats); the paper uses 0.001", at_least=0, at_most=LARGE
    )
    model: ModelConfig = section(ModelConfig, "what is trained")
    optim: OptimConfig = section(OptimConfig, "optimizer and learning rate")
    fsdp: FSDPConfig = section(FSDPConfig, "sharding and precision")
    offload: OffloadConfig = section(OffloadConfig, "memory offload")


@dataclass
class RefConfig:
    strategy: str = option("fsdp", "how the reference is sharded")
    fsdp: FSDPConfig = section(FSDPConfig, "sharding and precision of the reference")
    offload: OffloadConfig = section(OffloadConfig, "memory offload of the reference")


@dataclass
class RolloutConfig:
    name: str = option("vllm", "the program that samples")
    n: int = option(
        1,
        "rollouts of each prompt (the group); 2 or more with grpo, grpo_passk, rloo, reinforce_rej",
        at_least=1,
        at_most=10_000,
    )
    temperature: float = option(
        1.0,
        "sampling temperature; log-probs and entropies use it as well; 0 (greedy): validation only",
        at_least=0,
        at_most=100,
    )
    top_p: float = option(1.0, "sample from the smallest set of tokens with this much probability", above=0, at_most=1)
    top_k: int = option(-1, "sample from the k most likely tokens; -1: all", at_least=-1, at_most=BILLION)
    seed: int = option(1, "seed of the sampler", at_least=0, at_most=MOST_SEED)
    limit_images: int = option(0, "most images in one prompt; 0: vLLM's own limit", at_least=0, at_most=10_000)
    dtype: str = option("bf16", "dtype of sampling", choices=DTYPES)
    gpu_memory_utilization: float = option(0.6, "share of GPU memory for vLLM", above=0, at_most=1)
    ignore_eos: bool = option(False, "sample on after the end token; EasyR1 then cuts there")
    enforce_eager: bool = option(False, "no CUDA graphs in vLLM")
    enable_chunked_prefill: bool = option(False, "vLLM splits long prompts")
    tensor_parallel_size: int = option(2, "GPUs that share one copy of the sampler", at_least=1, at_most=MOST_DEVICES)
    max_model_len: int | None = option(
        None, "longest prompt and response; null: their sum", at_least=1, at_most=2 * MOST_TOKENS
    )
    max_num_batched_tokens: int = option(8192, "tokens in one vLLM batch", at_least=1, at_most=BILLION)
    disable_log_stats: bool = option(True, "vLLM logs no statistics")
    disable_tqdm: bool = option(False, "no progress bar while sampling")
    val_override_config: dict[str, Any] = option(
        {}, "what differs in validation, {n: 1, top_p: 0.95}: n, temperature, top_p, top_k, seed, ignore_eos"
    )


@dataclass
class RewardConfig:
    reward_function: str | None = option(None, "path.py:function, in EasyR1's interface (no name: main)")
    reward_function_kwargs: dict[str, Any] = option({}, "keyword arguments of the reward function")
    skip_special_tokens: bool = option(True, "the reward function reads responses without special tokens")
    num_cpus: int = option(1, "processes that grade", at_least=1, at_most=MOST_PROCESSES)
    time_limit: float = option(10.0, "seconds for one answer; later it gets reward 0", above=0, at_most=86_400)
    on_error: str = option(
        "stop", "a reward function that raises stops the run, or the answer gets 0", choices=("stop", "zero")
    )


@dataclass
class CriticConfig:
    strategy: str = option("fsdp", "how the critic is sharded")
    global_batch_size: int = option(256, "prompts in one optimizer step of the critic", at_least=1, at_most=MOST_ROWS)
    micro_batch_size_per_device_for_update: int = option(
        4, "rollouts in one forward pass of its update", at_least=1, at_most=MOST_ROWS
    )
    micro_batch_size_per_device_for_experience: int = option(
        16, "rollouts in one forward pass for values", at_least=1, at_most=MOST_ROWS
    )
    max_grad_norm: float = option(1.0, "gradients are scaled down to this norm", above=0, at_most=BILLION)
    cliprange_value: float = option(0.5, "how far a value may move in one step", above=0, at_most=LARGE)
    loss_avg_mode: str = option("token", "mean over tokens, or per rollout first", choices=("token", "seq"))
    ppo_epochs: int = option(1, "passes over the rollouts of a step", at_least=1, at_most=1000)
    padding_free: bool = option(False, "pack sequences instead of padding them")
    dynamic_batching: bool = option(True, "micro-batches by tokens instead of rows")
    ulysses_size: int = option(1, "devices that share one sequence", at_least=1, at_most=MOST_DEVICES)
    model: ModelConfig = section(ModelConfig, "the critic's model")
    optim: OptimConfig = section(OptimConfig, "the critic's optimizer")
    fsdp: FSDPConfig = section(FSDPConfig, "the critic's sharding and precision")
    offload: OffloadConfig = section(OffloadConfig, "the critic's memory offload")


@dataclass
class WorkerConfig:
    hybrid_engine: bool = option(True, "policy and sampler share the same devices")
    actor: ActorConfig = section(ActorConfig, "the policy and its update")
    rollout: RolloutConfig = section(RolloutConfig, "sampling")
    ref: RefConfig = section(RefConfig, "the reference policy of the KL term")
    reward: RewardConfig = section(RewardConfig, "grading")
    critic: CriticConfig = section(CriticConfig, "the value model of gae")
