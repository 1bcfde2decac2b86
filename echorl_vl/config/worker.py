"""The `worker:` section: policy, rollout, reference, reward and critic. Names and meanings are EasyR1's.

Some keys steer vLLM, FSDP or Ray. An engine without these ignores them, so that one file serves all; each engine
declares which (`ignores`), and the help names the engines that use a key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .fields import (
    Count,
    CountOrAll,
    Devices,
    Function,
    Input,
    Positive,
    PositiveShare,
    PositiveWeight,
    Processes,
    Rows,
    Section,
    Seed,
    Share,
    ShareBelowOne,
    Weight,
    option,
    section,
)

Dtype = Literal["bf16", "bfloat16", "fp16", "float16", "fp32", "float32"]
Passes = Annotated[int, Field(ge=1, le=1000)]
MaxNorm = Annotated[float, Field(gt=0, le=10**9)]


class LoraConfig(Section):
    rank: Annotated[int, Field(ge=0, le=65_536)] = option(0, "rank of the LoRA matrices; 0: train all weights")
    alpha: Annotated[int, Field(ge=1, le=10**6)] = option(64, "LoRA scale: updates are multiplied by alpha / rank")
    target_modules: str = option("all-linear", "all-linear, or module names separated by commas (q_proj,v_proj)")
    exclude_modules: str | None = option(None, "regular expression of module names without LoRA, such as .*visual.*")


class ModelConfig(Section):
    model_path: Input | None = option(None, "folder or hub id of the model")
    tokenizer_path: Input | None = option(None, "folder or hub id of tokenizer and processor; null: model_path")
    override_config: dict[Any, Any] = option({}, "entries that replace those of the model's own config")
    enable_gradient_checkpointing: bool = option(
        True, "recompute activations in the backward pass: less memory, slower"
    )
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
    clip_ratio_dual: Annotated[float, Field(gt=1, le=10**6)] = option(
        3.0, "dual clip: maximum ratio where the advantage is negative"
    )
    loss_avg_mode: Literal["token", "seq", "constant"] = option(
        "token",
        "token: mean over all tokens; seq: mean over the token means of the rollouts; "
        "constant: sum over tokens / (rollouts x max_response_length)",
    )
    loss_type: Literal["default", "gspo", "gspo_token", "cispo", "sapo"] = option(
        "default", "policy loss; default: PPO's clipped loss"
    )
    padding_free: bool = option(True, "pack sequences without padding, or share the prompt among rollouts")
    use_torch_compile: bool = option(True, "compile the log-prob function")
    tau_positive: PositiveWeight = option(1.0, "sapo: temperature of the gate where the advantage is positive")
    tau_negative: PositiveWeight = option(1.05, "sapo: temperature of the gate where the advantage is negative")
    entropy_coef: Weight = option(0.0, "weight of the entropy bonus (nats); the paper uses 0.001")


class CriticConfig(TrainedConfig):
    cliprange_value: PositiveWeight = option(0.5, "maximum change of a value in one step")
    loss_avg_mode: Literal["token", "seq"] = option(
        "token", "token: mean over all tokens; seq: mean over the token means of the rollouts"
    )
    padding_free: bool = option(False, "pack sequences without padding")


class RefConfig(Section):
    strategy: str = option("fsdp", "how the reference is sharded")
    fsdp: FSDPConfig = section(FSDPConfig, "sharding and precision of the reference")
    offload: OffloadConfig = section(OffloadConfig, "CPU offload of the reference")


class RolloutConfig(Section):
    name: str = option("vllm", "sampler")
    n: Annotated[int, Field(ge=1, le=10_000)] = option(
        1, "rollouts per prompt (the group); at least 2 with grpo, grpo_passk, rloo, reinforce_rej"
    )
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
    max_model_len: Annotated[int, Field(ge=1, le=2**21)] | None = option(
        None, "maximum tokens of prompt and response together; null: the sum of their limits"
    )
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
    time_limit: Annotated[float, Field(gt=0, le=86_400)] = option(
        10.0, "time limit per answer in seconds; slower answers get reward 0"
    )
    on_error: Literal["stop", "zero"] = option(
        "stop", "if a reward function raises an exception: stop, or give the answer reward 0"
    )


class WorkerConfig(Section):
    hybrid_engine: bool = option(True, "policy and sampler share the same devices")
    actor: ActorConfig = section(ActorConfig, "the policy and its update")
    rollout: RolloutConfig = section(RolloutConfig, "sampling")
    ref: RefConfig = section(RefConfig, "the reference policy of the KL term")
    reward: RewardConfig = section(RewardConfig, "reward function and its workers")
    critic: CriticConfig = section(CriticConfig, "the value model of gae")
