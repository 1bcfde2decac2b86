"""The whole of an EasyR1 run without a GPU: `engine=easyr1 trainer.device=cpu`.

For trying a configuration before machines are paid for, and for this project's tests. Ray, FSDP (over gloo), EasyR1's
trainer, workers, data, rewards and checkpoints are the real ones; sampling is done by the embedded engine's rollout in
the place of vLLM. `config.rehearsal` says what a configuration loses, `install` what is put in the place of CUDA.
"""

REHEARSAL = "ECHORL_VL_REHEARSAL"
"""Set in the environment of every process of a rehearsal."""

ENVIRONMENT = {REHEARSAL: "1"}
"""What is set in the process that starts a rehearsal."""
