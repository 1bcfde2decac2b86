"""Everything in verl that the adapter calls, subclasses or patches, and why. They are checked before a run."""

from __future__ import annotations

from echorl_vl.engines.ray.hooks import Hook
from echorl_vl.engines.ray.host import Host, Package

_BASE, _SYNC = "verl.trainer.ppo.v1.trainer_base", "verl.trainer.ppo.v1.trainer_sync"
_MAIN, _BUFFER, _WORKERS = "verl.trainer.main_ppo", "verl.trainer.ppo.v1.replay_buffer", "verl.workers.engine_workers"
_TENSORS, _REWARD = "verl.utils.tensordict_utils", "verl.experimental.reward_loop.reward_manager.base"
_QUEUE = "transfer_queue"

HOOKS = (
    # the driver
    Hook(_MAIN, "TaskRunnerV1.run", ("self", "config"), "builds everything: subclassed, to return how it ended"),
    Hook(_BASE, "register_trainer", ("name",), "registers our trainers"),
    Hook(_SYNC, "PPOTrainerSync", None, "subclassed"),
    Hook(_BASE, "PPOTrainer.__init__", ("self", "config"), "called; verl's trainers warn that they lack the echo term"),
    Hook("verl.trainer.ppo.ray_trainer", "RayPPOTrainer", None, "the old trainer, which warns too"),
    Hook(_BASE, "PPOTrainer.fit", ("self", "agent_loop_manager"), "run with the next name patched"),
    Hook(_BASE, "Tracking.__init__", ("self", "*", "project_name", "experiment_name"), "patched by a subclass"),
    Hook(_BASE, "Tracking.log", ("self", "data", "step"), "also writes metrics.jsonl"),
    Hook(_BASE, "PPOTrainer._build_replay_buffer", ("self",), "run with the next name patched"),
    Hook(_BASE, "ReplayBuffer", None, "patched to EchoReplayBuffer"),
    Hook(_BASE, "PPOTrainer._init_resource_pool_mgr", ("self",), "then the actor's roles get EchoWorker"),
    Hook(_BASE, "PPOTrainer._init_tokenizer", ("self",), "then the splitter is built"),
    Hook(_BASE, "PPOTrainer._update_actor", ("self", "batch", "metrics"), "mining before it, metrics after it"),
    Hook(_BASE, "PPOTrainer._validate", ("self",), "accuracy with its standard error, rollout files"),
    Hook(_BASE, "PPOTrainer._save_checkpoint", ("self",), "called when the stop file ends a run"),
    Hook(_SYNC, "PPOTrainerSync.on_step_end", ("self",), "looks for the stop file"),
    Hook("verl.trainer.ppo.utils", "Role.ActorRolloutRef", None, "role of the actor's worker"),
    Hook("verl.trainer.ppo.utils", "Role.ActorRollout", None, "the same"),
    Hook("verl.trainer.ppo.utils", "Role.Actor", None, "the same"),
    Hook("verl.trainer.ppo.utils", "need_critic", ("config",), "argument of verl's check of its configuration"),
    Hook("verl.trainer.ppo.utils", "need_reference_policy", ("config",), "the same"),
    Hook("verl.utils.config", "validate_config", ("config", "*", "use_reference_policy", "use_critic"), "verl's check"),
    Hook(
        "verl.trainer.constants_ppo",
        "get_ppo_ray_runtime_env",
        ("config",),
        "environment variables of verl's processes",
    ),
    # sampling
    Hook(_BUFFER, "ReplayBuffer.sample", ("self", "global_steps", "partition_id", "batch_size"), "failed rollouts"),
    Hook(_BUFFER, "ReplayBuffer._dapo_filtered_keys", ("self", "partition_id"), "which groups dynamic sampling drops"),
    Hook(_QUEUE, "kv_batch_get", ("*", "keys", "partition_id", "select_fields"), "reads rollouts on the driver"),
    Hook(_QUEUE, "kv_batch_put", ("*", "keys", "partition_id", "fields"), "writes token weights and advantages"),
    Hook(_QUEUE, "KVBatchMeta", None, "names rows and columns of a batch"),
    # the workers
    Hook(_WORKERS, "ActorRolloutRefWorker.actor_worker_cls", None, "set to EchoTrainingWorker on a subclass"),
    Hook(_WORKERS, "TrainingWorker.set_loss_fn", ("self", "loss_fn"), "wraps verl's loss to add the echo term"),
    Hook(_WORKERS, "TrainingWorker.train_batch", ("self", "data"), "denominator of an optimizer step; skipped steps"),
    Hook("verl.workers.utils.losses", "ppo_loss", ("*", "config", "model_output", "data", "dp_group"), "verl's loss"),
    Hook("verl.workers.utils.padding", "no_padding_2_padding", ("tensor", "data"), "log-probs of the responses"),
    Hook("verl.utils.metric", "Metric.__init__", ("self", "*", "aggregation", "value"), "echo/loss is summed"),
    Hook("verl.utils.metric", "AggregationType.SUM", None, "the same"),
    Hook(_TENSORS, "get", ("tensordict", "key", "*", "default"), "numbers that travel with a batch"),
    Hook(_TENSORS, "assign_non_tensor", ("tensor_dict",), "the same"),
    # rewards
    Hook(_REWARD, "RewardManagerBase.__init__", ("self", "config", "tokenizer", "compute_score"), "subclassed"),
    Hook(_REWARD, "RewardManagerBase.run_single", ("self", "data"), "scores one rollout"),
)

HOST = Host(
    engine="verl",
    name="verl",
    measured="0.9.1",
    marker="workers/engine_workers.py",  # part of its V1 trainer
    install="pip install 'verl[verl-core]==0.9.1'",
    packages={  # as verl 0.9.1 declares them
        "transformers": Package("verl's model code", ">=5.5.3,<5.11,!=5.6.0"),
        "tensordict": Package("verl's batches", ">=0.8,<0.10.1,!=0.9.0"),
        "TransferQueue": Package("verl's V1 trainer; it comes with verl[verl-core]", ">=0.1.10"),
        "ray": Package("verl's processes", ">=2.41"),
        "hydra-core": Package("verl's configuration", ">=1.3"),
        "vllm": Package("verl's rollouts; it comes with verl[vllm]", ">=0.24", gpu_only=True),
    },
    hooks=HOOKS,
)
