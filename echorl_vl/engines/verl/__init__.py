"""verl as the engine: its V1 trainer on Ray, FSDP2 and vLLM, with the echo term added from outside. Text only.

verl is not modified, and none of its methods are copied. `hooks` lists everything in verl that the adapter uses, with
the reason, and checks it before a run starts. The parts of a training step:

    rollouts      verl's agent loop; a failed rollout ends the run                       sampling
    rewards       verl's reward loop with our time limits                                rewards
    old log-probs verl's forward pass, which also gives the entropies                    -
    advantages    verl's, but exactly 0 in groups of equal rewards                       trainer
    mining        on the driver, just before the update                                  trainer, batches
    update        the echo term is added to verl's loss                                  worker, loss
    metrics       the names and files of the local engine                                run_trainer

A run starts with `python -m echorl_vl.train CONFIG engine=verl` (`launch`), or with verl's own command line and this
package as its plug-in:

    VERL_USE_EXTERNAL_MODULES=echorl_vl.engines.verl python -m verl.trainer.main_ppo \\
        trainer.v1.trainer_mode=echo_sync +echo.coef=0.001 ...

`dry_run` runs everything without a GPU. Code shared with the EasyR1 engine is in `engines/ray`.
"""

import os

from echorl_vl.engines.ray.adjusted import DRY_RUN

PLUGIN = "VERL_USE_EXTERNAL_MODULES"
"""Environment variable with modules, separated by commas, that every `import verl` imports too."""

if __name__ in os.environ.get(PLUGIN, "").split(","):
    if os.environ.get(DRY_RUN) == "verl":  # before verl asks for a device
        from echorl_vl.engines.verl.dry_run.install import install

        install()
    import echorl_vl.engines.verl.run_trainer  # noqa: F401  (registers the trainers)
