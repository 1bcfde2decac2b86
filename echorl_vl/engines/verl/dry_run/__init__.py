"""The whole of a verl run without a GPU: `engine=verl trainer.device=cpu`.

For trying a configuration before machines are paid for, and for this project's tests. Ray, FSDP2 (over gloo), verl's
trainer, TransferQueue, agent loop, workers, data, rewards and checkpoints are the real ones; sampling is done by the
local engine's rollout in the place of vLLM. `ray.adjusted` says what a configuration loses, `install` what is
put in the place of CUDA.
"""

from __future__ import annotations

from typing import Any

from echorl_vl.engines.ray.adjusted import dry_run_environment

ROLLOUT = "echorl_dry_run"
"""The name of our sampler in verl's registries."""

ENVIRONMENT = dry_run_environment("verl") | {
    "VERL_PLATFORM": "cpu",  # ours, registered by `install`
    "VERL_ENGINE_DEVICE": "cuda",  # verl looks for its FSDP engine under the name of a device that it knows
    "OMP_NUM_THREADS": "1",
}
"""Variables of every process of a CPU dry run."""


def dry_run_settings() -> dict[str, Any]:
    """Dotted key of verl -> value: our sampler, and few processes."""
    return {
        "actor_rollout_ref.rollout.name": ROLLOUT,
        "actor_rollout_ref.rollout.free_cache_engine": False,
        "actor_rollout_ref.rollout.agent.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }
