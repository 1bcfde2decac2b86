"""A complete EasyR1 run without a GPU: `engine=easyr1 trainer.device=cpu`.

It tries a configuration before GPUs are rented, and is used by the tests. Ray, FSDP (over gloo), and EasyR1's trainer,
workers, data, rewards and checkpoints are the real ones; the local engine's rollout replaces vLLM. `ray.adjusted`
changes the configuration, and `install` replaces CUDA.
"""

from echorl_vl.engines.ray.adjusted import dry_run_environment

ENVIRONMENT = dry_run_environment("easyr1")
"""Environment variables of every process of a CPU dry run."""
