"""A complete verl run without a GPU: `engine=verl trainer.device=cpu`.

It tries a configuration before GPUs are rented, and is used by the tests. Ray, FSDP2 (over gloo), TransferQueue, and
verl's trainer, agent loop, workers, data, rewards and checkpoints are the real ones; the local engine's rollout
replaces vLLM. `ray.adjusted` changes the configuration, and `install` replaces CUDA.
"""

from __future__ import annotations

from typing import Any

from echorl_vl.engines.ray.adjusted import dry_run_environment

ROLLOUT = "echorl_dry_run"
"""The name of our sampler in verl's registries."""

ENVIRONMENT = dry_run_environment("verl") | {
    "VERL_PLATFORM": "cpu",  # registered by `install`
    "VERL_ENGINE_DEVICE": "cuda",  # the name under which verl registers its FSDP engine
    "OMP_NUM_THREADS": "1",
}
"""Environment variables of every process of a CPU dry run."""


def dry_run_settings() -> dict[str, Any]:
    """Dotted keys of verl and their values: our sampler, and few processes."""
    return {
        "actor_rollout_ref.rollout.name": ROLLOUT,
        "actor_rollout_ref.rollout.free_cache_engine": False,
        "actor_rollout_ref.rollout.agent.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }
