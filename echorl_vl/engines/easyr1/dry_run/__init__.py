"""The whole of an EasyR1 run without a GPU: `engine=easyr1 trainer.device=cpu`.

For trying a configuration before machines are paid for, and for this project's tests. Ray, FSDP (over gloo), EasyR1's
trainer, workers, data, rewards and checkpoints are the real ones; sampling is done by the local engine's rollout in
the place of vLLM. `config.cpu_dry_run` says what a configuration loses, `install` what is put in the place of CUDA.
"""

DRY_RUN = "ECHORL_VL_DRY_RUN"
"""Set in the environment of every process of a CPU dry run."""

ENVIRONMENT = {DRY_RUN: "1"}
"""What is set in the process that starts a CPU dry run."""
