"""EasyR1 as the engine: Ray, FSDP and vLLM, with the EchoRL term added from outside.

No file of EasyR1 is edited and no method of it copied. What the adapter touches of it stands in `hooks`, name by name
with the reason, and is checked before a run starts. A training step, and where the adapter acts in it:

    rollouts         vLLM, as EasyR1 has it; further visual tokens are forbidden          worker
    demonstrations   the last row of each group (LUFFY, SRFT)                             off_policy_rows
    rewards          EasyR1's interface, graded under our time limits; accuracy per row   rewards
    old log-probs    the same forward pass gives the entropies too                        worker, actor
    advantages       EasyR1's                                                             advantages
    mining           on the driver, just before the update                                trainer, batches
    update           the echo term joins EasyR1's policy loss, or the algorithm's own     actor, loss
    metrics          the names and files of the local engine                              trainer

`launch` makes the driver process, `datasets` what it reads; `dry_run` lets all of it run on a machine without a GPU.
What is the same for verl stands in `engines/ray`.
"""

import os

from echorl_vl.engines.ray.adjusted import DRY_RUN

if os.environ.get(DRY_RUN) == "easyr1":  # in every process of the run, before EasyR1 is imported
    from echorl_vl.engines.easyr1.dry_run.install import install

    install()
