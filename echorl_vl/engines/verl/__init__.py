"""verl as the engine: its V1 trainer on Ray, FSDP2 and vLLM, with the EchoRL term added from outside. Text only.

No file of verl is edited and no method of it copied. What the adapter touches of it stands in `hooks`, name by name
with the reason, and is checked before a run starts. A training step, and where the adapter acts in it:

    rollouts      verl's agent loop; a group that failed ends the run                    sampling
    rewards       verl's reward loop, graded under our time limits                       rewards
    old log-probs verl's pass, which gives the entropies too                             -
    advantages    verl's; exactly 0 where a group's rewards are all equal                trainer
    mining        on the driver, just before the update                                  trainer, batches
    update        the echo term joins verl's loss                                        worker, loss
    metrics       the names and files of the local engine                                run_trainer

Two ways in: `python -m echorl_vl.train CONFIG engine=verl` (`launch`), and verl's own command line with this package as
its plug-in:

    VERL_USE_EXTERNAL_MODULES=echorl_vl.engines.verl python -m verl.trainer.main_ppo \\
        trainer.v1.trainer_mode=echo_sync +echo.coef=0.001 ...

`dry_run` lets all of it run on a machine without a GPU. What is the same for EasyR1 stands in `engines/ray`.
"""

import os

from echorl_vl.engines.ray.adjusted import DRY_RUN

PLUGIN = "VERL_USE_EXTERNAL_MODULES"
"""verl imports the modules that this variable names (with commas) in every process, at the end of `import verl`."""

if __name__ in os.environ.get(PLUGIN, "").split(","):
    if os.environ.get(DRY_RUN) == "verl":  # before anything of verl asks for a device
        from echorl_vl.engines.verl.dry_run.install import install

        install()
    import echorl_vl.engines.verl.run_trainer  # noqa: F401  (registers the trainers)
