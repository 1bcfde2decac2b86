"""From `Config` to verl's hydra configuration, key by key, and the sections that the adapter adds to it.

`echo` is the section of that name, as on verl's own command line; `echorl` has the settings of our trainer and reward
manager. Every key of `Config` is either translated here, implemented elsewhere in this folder (`ACTED_ON`), without
effect (`NO_EFFECT`), or refused by `engine`; a test compares the four with the schema.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from echorl_vl.config import Config, FSDPConfig, OffloadConfig

ACTOR, MODEL, ROLLOUT, REF = (f"actor_rollout_ref.{part}" for part in ("actor", "model", "rollout", "ref"))
LOSS_MODES = {"token": "token-mean", "seq": "seq-mean-token-mean", "constant": "seq-mean-token-sum-norm"}
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}

LAST_OF_A_CHECKPOINT = "data.pt"
"""The last file that verl writes to a checkpoint."""

_NEVER_BEFORE_THE_END = 2**31 - 1  # steps

HERE = "pkg://echorl_vl.engines.verl"

ACTED_ON = frozenset(
    {
        "data.answer_key", "data.bad_rows", "data.filter_overlong_prompts", "data.format_prompt", "data.image_key",
        "data.prompt_key", "data.train_files", "data.val_files", "data.video_key",  # datasets
        "echo.*", "engine", "algorithm.dynamic_sampling", "algorithm.keep_all_success_groups",
        "trainer.max_try_make_batch",  # trainer, sampling
        "worker.reward.*",  # rewards
        "trainer.device", "trainer.find_last_checkpoint", "trainer.max_bad_steps", "trainer.rollout_save_freq",  # run
    }
)  # fmt: skip
"""Keys that this folder implements itself (`.*`: a whole section)."""

NO_EFFECT = frozenset(
    {
        "algorithm.gamma", "algorithm.lam", "algorithm.options",  # of algorithms that are refused
        "data.bad_traces", "data.trace_needs_box",  # of sets that are refused, like the next four
        "data.video_fps", "data.min_pixels", "data.max_pixels", "data.check_images",
        "data.filter_overlong_prompts_workers",  # one process is fast enough for text
        "worker.critic.*", "worker.actor.tau_positive", "worker.actor.tau_negative",
        "worker.actor.fsdp.enable_rank0_init", "worker.ref.fsdp.enable_rank0_init",  # verl loads models in one way only
        "worker.actor.model.lora.alpha", "worker.actor.model.lora.target_modules",
        "worker.actor.model.lora.exclude_modules",
        "worker.rollout.disable_tqdm",  # there is no progress bar
        "trainer.checkpoint_hash",  # checkpoints are verl's
    }
)  # fmt: skip
"""Keys without effect on this engine."""


def to_verl(config: Config) -> dict[str, Any]:
    """Dotted keys of verl and their values; all other keys keep verl's defaults.

    Args:
        config: supported by the engine, with problem sets that verl can read (`datasets`).
    """
    return {
        **_data(config),
        **_algorithm(config),
        **_actor(config),
        **_model(config),
        **_rollout(config),
        **_ref(config),
        **_reward(config),
        **_trainer(config),
    }


def extra_sections(config: Config, run: Path | None = None, resume_step: int | None = None) -> dict[str, Any]:
    """The sections that the adapter adds: `echo` and `echorl`.

    Args:
        config: the configuration.
        run: the run folder.
        resume_step: number of steps that it holds already; None for a new run.
    """
    reward = config.worker.reward
    return {
        "echo": dataclasses.asdict(config.echo),
        "echorl": {
            "run_path": None if run is None else str(run),
            "resume_step": resume_step,
            "online_filtering": config.algorithm.online_filtering,
            "keeps_all_success": [config.algorithm.keeps_all_success(has_term) for has_term in (False, True)],
            "max_sampling_rounds": config.trainer.max_try_make_batch,
            "max_bad_steps": config.trainer.max_bad_steps,
            "rollout_save_freq": config.trainer.rollout_save_freq,
            "val_n": config.worker.rollout.val_override_config.get("n", 1),
            "reward": {
                "function": reward.reward_function,
                "kwargs": dict(reward.reward_function_kwargs),
                "time_limit": reward.time_limit,
                "on_error": reward.on_error,
                "skip_special_tokens": reward.skip_special_tokens,
            },
        },
    }


def _same(prefix: str, section: Any, names: str) -> dict[str, Any]:
    """Keys that have the same name in verl."""
    return {f"{prefix}.{name}": getattr(section, name) for name in names.split()}


def _data(config: Config) -> dict[str, Any]:
    data = config.data
    return {
        **_same("data", data, "train_files max_prompt_length max_response_length shuffle seed"),
        "data.val_files": data.val_files or data.train_files,  # verl always opens one
        "data.train_batch_size": data.rollout_batch_size,
        "data.val_batch_size": data.val_batch_size if data.val_batch_size > 0 else None,
        "data.dataloader_num_workers": 0,  # text needs no loader processes
    }


def _algorithm(config: Config) -> dict[str, Any]:
    algorithm = config.algorithm
    return {
        **_same("algorithm", algorithm, "adv_estimator norm_adv_by_std_in_grpo kl_penalty"),
        "algorithm.use_kl_in_reward": not algorithm.disable_kl and not algorithm.use_kl_loss,
        "algorithm.kl_ctrl.type": algorithm.kl_type,
        "algorithm.kl_ctrl.kl_coef": algorithm.kl_coef,
        "algorithm.kl_ctrl.horizon": algorithm.kl_horizon,
        "algorithm.kl_ctrl.target_kl": algorithm.kl_target,
        "algorithm.filter_groups.enable": algorithm.online_filtering,
        "algorithm.filter_groups.metric": "acc",
    }


def _actor(config: Config) -> dict[str, Any]:
    actor, optim, algorithm = config.worker.actor, config.worker.actor.optim, config.algorithm
    longest = config.data.max_prompt_length + config.data.max_response_length
    return {
        **_same(ACTOR, actor, "clip_ratio_low clip_ratio_high use_torch_compile ppo_epochs"),
        f"{ACTOR}.strategy": "fsdp2",
        f"{ACTOR}.ppo_mini_batch_size": actor.global_batch_size,
        f"{ACTOR}.ppo_micro_batch_size_per_gpu": actor.micro_batch_size_per_device_for_update,
        f"{ACTOR}.use_dynamic_bsz": actor.dynamic_batching,
        f"{ACTOR}.ppo_max_token_len_per_gpu": actor.micro_batch_size_per_device_for_update * longest,
        f"{ACTOR}.clip_ratio": actor.clip_ratio_low,
        f"{ACTOR}.clip_ratio_c": actor.clip_ratio_dual,
        f"{ACTOR}.loss_agg_mode": LOSS_MODES[actor.loss_avg_mode],
        f"{ACTOR}.loss_scale_factor": config.data.max_response_length if actor.loss_avg_mode == "constant" else None,
        f"{ACTOR}.entropy_coeff": actor.entropy_coef,
        f"{ACTOR}.use_kl_loss": not algorithm.disable_kl and algorithm.use_kl_loss,
        f"{ACTOR}.kl_loss_coef": algorithm.kl_coef,
        f"{ACTOR}.kl_loss_type": algorithm.kl_penalty,
        f"{ACTOR}.fsdp_config.use_torch_compile": actor.use_torch_compile,
        f"{ACTOR}.grad_clip": actor.max_grad_norm,
        f"{ACTOR}.checkpoint.save_contents": ["model"] if config.trainer.save_model_only else _WHOLE,
        **_same(f"{ACTOR}.optim", optim, "lr weight_decay lr_scheduler_type"),
        f"{ACTOR}.optim.betas": list(optim.betas),
        f"{ACTOR}.optim.clip_grad": actor.max_grad_norm,
        f"{ACTOR}.optim.lr_warmup_steps_ratio": optim.lr_warmup_ratio,
        f"{ACTOR}.optim.lr_warmup_steps": -1 if optim.lr_warmup_steps is None else optim.lr_warmup_steps,
        f"{ACTOR}.optim.min_lr_ratio": optim.min_lr_ratio or 0.0,
        **_fsdp(f"{ACTOR}.fsdp_config", actor.fsdp, actor.offload),
    }


_WHOLE = ["model", "optimizer", "extra"]


def _fsdp(prefix: str, fsdp: FSDPConfig, offload: OffloadConfig) -> dict[str, Any]:
    return {
        f"{prefix}.reshard_after_forward": fsdp.enable_full_shard,
        f"{prefix}.offload_policy": fsdp.enable_cpu_offload,
        f"{prefix}.fsdp_size": fsdp.fsdp_size,
        f"{prefix}.param_offload": offload.offload_params,
        f"{prefix}.optimizer_offload": offload.offload_optimizer,
        f"{prefix}.model_dtype": DTYPES.get(fsdp.torch_dtype or "fp32", fsdp.torch_dtype),
        f"{prefix}.mixed_precision": {
            "param_dtype": fsdp.mp_param_dtype,
            "reduce_dtype": fsdp.mp_reduce_dtype,
            "buffer_dtype": fsdp.mp_buffer_dtype,
        },
    }


def _model(config: Config) -> dict[str, Any]:
    model, template = config.worker.actor.model, config.data.override_chat_template
    override = dict(model.override_config)
    if config.trainer.device == "cpu":
        override.setdefault("attn_implementation", "sdpa")
    return {
        **_same(MODEL, model, "tokenizer_path trust_remote_code enable_gradient_checkpointing"),
        f"{MODEL}.path": model.model_path,
        f"{MODEL}.override_config": override,
        f"{MODEL}.use_remove_padding": config.worker.actor.padding_free,
        f"{MODEL}.custom_chat_template": Path(template).read_text(encoding="utf-8") if template else None,
    }


def _rollout(config: Config) -> dict[str, Any]:
    rollout, actor = config.worker.rollout, config.worker.actor
    sampled, validated = "temperature top_p top_k", f"{ROLLOUT}.val_kwargs"
    override = {f"{validated}.{name}": value for name, value in rollout.val_override_config.items()}
    validation = {**_same(validated, rollout, sampled), f"{validated}.n": 1, **override}
    longest = config.data.max_prompt_length + config.data.max_response_length
    return {
        **_same(ROLLOUT, rollout, f"name n {sampled} seed gpu_memory_utilization ignore_eos enforce_eager"),
        **_same(ROLLOUT, rollout, "enable_chunked_prefill max_model_len max_num_batched_tokens disable_log_stats"),
        f"{ROLLOUT}.dtype": DTYPES.get(rollout.dtype, rollout.dtype),
        f"{ROLLOUT}.tensor_model_parallel_size": rollout.tensor_parallel_size,
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": actor.micro_batch_size_per_device_for_experience,
        f"{ROLLOUT}.log_prob_max_token_len_per_gpu": actor.micro_batch_size_per_device_for_experience * longest,
        **validation,
        f"{validated}.do_sample": validation[f"{validated}.temperature"] > 0,
    }


def _ref(config: Config) -> dict[str, Any]:
    ref, rollout = config.worker.ref, config.worker.actor
    longest = config.data.max_prompt_length + config.data.max_response_length
    return {
        f"{REF}.log_prob_micro_batch_size_per_gpu": rollout.micro_batch_size_per_device_for_experience,
        f"{REF}.log_prob_max_token_len_per_gpu": rollout.micro_batch_size_per_device_for_experience * longest,
        f"{REF}.fsdp_config.use_torch_compile": config.worker.actor.use_torch_compile,
        **_fsdp(f"{REF}.fsdp_config", ref.fsdp, ref.offload),
    }


def _reward(config: Config) -> dict[str, Any]:
    return {
        "reward.num_workers": config.worker.reward.num_cpus,
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "EchoRewardManager",
        "reward.reward_manager.module.path": f"{HERE}.rewards",
    }


def _trainer(config: Config) -> dict[str, Any]:
    trainer = config.trainer
    given = trainer.load_checkpoint_path
    return {
        "trainer.total_epochs": max(trainer.total_epochs, trainer.max_steps or 0),  # verl stops at the lower of the two
        **_same("trainer", trainer, "project_name experiment_name nnodes n_gpus_per_node val_only critic_warmup"),
        "trainer.total_training_steps": trainer.max_steps,
        "trainer.logger": [name for name in trainer.logger if name != "file"],  # metrics.jsonl is always written
        "trainer.device": "cpu" if trainer.device == "cpu" else "cuda",
        "trainer.test_freq": _at_least_at_the_end(trainer.val_freq) if config.data.val_files else -1,
        "trainer.val_before_train": trainer.val_before_train and bool(config.data.val_files),
        "trainer.log_val_generations": trainer.val_generations_to_log,
        "trainer.save_freq": _at_least_at_the_end(trainer.save_freq),
        "trainer.max_actor_ckpt_to_keep": trainer.save_limit if trainer.save_limit > 0 else None,
        "trainer.default_local_dir": trainer.save_checkpoint_path,
        "trainer.resume_mode": "resume_path" if given else "disable",
        "trainer.resume_from_path": given,
        "ray_kwargs.timeline_json_file": trainer.ray_timeline,
    }


def _at_least_at_the_end(frequency: int) -> int:
    """A frequency of 0 or below means only after the last step, as in the other engines; in verl it means never."""
    return frequency if frequency > 0 else _NEVER_BEFORE_THE_END
