"""verl's names of configuration keys."""

from __future__ import annotations

from echorl_vl.engines.base import KeyNames

KEY_NAMES = KeyNames(
    renamed={
        "train_batch_size": "data.rollout_batch_size",
        "gen_batch_size": "data.mini_rollout_batch_size",
        "ppo_mini_batch_size": "global_batch_size",
        "ppo_micro_batch_size_per_gpu": "micro_batch_size_per_device_for_update",
        "log_prob_micro_batch_size_per_gpu": "micro_batch_size_per_device_for_experience",
        "total_training_steps": "trainer.max_steps",
        "default_local_dir": "trainer.save_checkpoint_path",
        "tensor_model_parallel_size": "tensor_parallel_size",
    }
)
