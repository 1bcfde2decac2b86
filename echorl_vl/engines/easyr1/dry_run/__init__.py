"""The whole of an EasyR1 run without a GPU: `engine=easyr1 trainer.device=cpu`.

For trying a configuration before machines are paid for, and for this project's tests. Ray, FSDP (over gloo), EasyR1's
trainer, workers, data, rewards and checkpoints are the real ones; sampling is done by the local engine's rollout in
the place of vLLM. `ray.adjusted` says what a configuration loses, `install` what is put in the place of CUDA.
"""

from echorl_vl.engines.ray.adjusted import dry_run_environment

ENVIRONMENT = dry_run_environment("easyr1")
"""Variables of every process of a CPU dry run."""
