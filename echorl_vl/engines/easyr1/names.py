"""EasyR1's names of configuration keys: those that it sets itself, its older names, and those of its forks."""

from __future__ import annotations

from echorl_vl.engines.base import KeyNames

_ACTOR, _ALGORITHM, _CRITIC, _REF = "worker.actor", "algorithm", "worker.critic", "worker.ref"
_SHARED = (
    "micro_batch_size_per_device_for_experience",
    "padding_free",
    "dynamic_batching",
    "ulysses_size",
    "use_torch_compile",
)

DERIVED: dict[str, str] = {
    **{f"{_REF}.{name}": f"{_ACTOR}.{name}" for name in _SHARED},
    **{f"{_ACTOR}.{name}": f"{_ALGORITHM}.{name}" for name in ("disable_kl", "use_kl_loss", "kl_penalty", "kl_coef")},
    f"{_ACTOR}.global_batch_size_per_device": f"{_ACTOR}.global_batch_size",
    f"{_CRITIC}.global_batch_size_per_device": f"{_CRITIC}.global_batch_size",
    f"{_ACTOR}.optim.training_steps": "trainer.max_steps",
    f"{_CRITIC}.optim.training_steps": "trainer.max_steps",
    "worker.rollout.prompt_length": "data.max_prompt_length",
    "worker.rollout.response_length": "data.max_response_length",
    "worker.rollout.trust_remote_code": f"{_ACTOR}.model.trust_remote_code",
    "worker.reward.reward_function_name": "worker.reward.reward_function",
}
"""Key that EasyR1 accepts in a file and sets itself at start -> the key that it takes the value from."""

RENAMED: dict[str, str] = {
    "compute_score": "reward_function",
    "entropy_coeff": "entropy_coef",
    "format_prompt_path": "format_prompt",
    "kl_loss_coef": "algorithm.kl_coef",
    "kl_loss_type": "algorithm.kl_penalty",
    "lr_warmup_steps_ratio": "lr_warmup_ratio",
    "optimizer_offload": "offload_optimizer",
    "param_offload": "offload_params",
    "remove_previous_ckpt": "trainer.save_limit",
    "score_function": "reward_function",
    "score_function_kwargs": "reward_function_kwargs",
    "test_freq": "trainer.val_freq",
    "total_episodes": "trainer.total_epochs",
    "ulysses_sequence_parallel_size": "ulysses_size",
    "val_generations_to_log_to_wandb": "trainer.val_generations_to_log",
    "warmup_style": "lr_scheduler_type",
}
"""An older name of EasyR1's, or its last part -> the key."""

_NO_COUNTERPART = "EasyR1 had it in earlier versions, and nothing takes its place: leave it out"
GONE: dict[str, str] = {
    "reward_type": "EasyR1 had it in earlier versions; now REWARD_TYPE in the file of the reward function says it",
    "clip_ratio": "EasyR1 had it in earlier versions; now worker.actor.clip_ratio_low and clip_ratio_high",
    "report_kl": "EasyR1 had it in earlier versions; now algorithm.disable_kl=false reports the KL",
    "system_prompt": "EasyR1 had it in earlier versions; now the template of data.format_prompt holds such a text",
    "score_function_name": "EasyR1 had it in earlier versions; now worker.reward.reward_function is path.py:function",
    **{
        name: _NO_COUNTERPART
        for name in (
            "del_local_ckpt_after_load",
            "do_sample",
            "free_cache_engine",
            "max_num_seqs",
            "remove_ckpt_after_load",
            "return_raw_input_ids",
            "return_raw_prompt",
        )
    },
}
"""Last part of a key that EasyR1 had -> what became of it."""

_FORK_KEYS = {
    "NoisyRollout": "is_noisy aug_type gaussian_noise_step crop_size rotate_angle decay_coef decay_mode "
    "decay_sig_mid_step freeze_language_model",
    "PAPO": "use_kl_prcp kl_prcp_coef kl_prcp_penalty kl_prcp_schedule kl_prcp_schedule_args kl_prcp_apply_mode "
    "use_kl_prcp_clipping kl_prcp_clipping use_kl_prcp_token_level_mask kl_prcp_token_level_mask_top_p aug_config "
    "aug_image_key contrastive_type incorrect_weighting use_aug_entropy_loss aug_entropy_loss_coef "
    "use_ori_entropy_loss ori_entropy_loss_coef use_sft_loss sft_loss_coef save_best_checkpoint",
    "R1-ShareVL": "question_num",
    "Vision-SR1": "max_input_length response_path val_reward",
    "VPPO": "use_vppo_on_entropy top_p_entropy_tokens use_vppo_on_perception top_p_perception_tokens "
    "use_entropy_penalty entropy_penalty_coef use_advantage_shaping advantage_scaling_min",
}
FORKS: dict[str, str] = {
    key: f"a key of {fork}, a fork of EasyR1; there is no such key here: leave it out, or train with the fork"
    for fork, keys in _FORK_KEYS.items()
    for key in keys.split()
}
"""Last part of a key of EasyR1's forks -> what the error says."""

_NO_CLIPPING = "0 would scale every gradient to nothing, in EasyR1 too; for no clipping give a large number"
REFUSED_VALUES: dict[str, tuple[object, str]] = {
    "data.seed": (-1, "a run draws the same with the same seed; EasyR1 takes -1 for one seed like others"),
    "data.min_pixels": (0, "null is no lower limit"),
    "trainer.max_steps": (-1, "EasyR1 would train no step with it; null: trainer.total_epochs says how long"),
    "worker.actor.max_grad_norm": (0, _NO_CLIPPING),
    "worker.critic.max_grad_norm": (0, _NO_CLIPPING),
    "worker.actor.optim.lr_warmup_steps": (-1, "null: lr_warmup_ratio says how long"),
    "worker.critic.optim.lr_warmup_steps": (-1, "null: lr_warmup_ratio says how long"),
    "worker.rollout.seed": (-1, "a run draws the same with the same seed; vLLM takes -1 for a new one at each start"),
    "worker.rollout.dtype": (
        "auto",
        "a word of vLLM's that EasyR1 does not know either: it fails once the model is there",
    ),
}
"""Key -> a value that means something elsewhere, and why it is refused here."""

KEY_NAMES = KeyNames(DERIVED, RENAMED, {**GONE, **FORKS}, REFUSED_VALUES)
