"""EasyR1 as the engine: Ray, FSDP and vLLM, with the echo term added from outside.

EasyR1 is not modified, and none of its methods are copied. `hooks` lists everything in EasyR1 that the adapter uses,
with the reason, and checks it before a run starts. The parts of a training step:

    rollouts         EasyR1's vLLM, with all visual tokens forbidden                      worker
    demonstrations   the last row of each group (LUFFY, SRFT)                             off_policy_rows
    rewards          EasyR1's interface, with our time limits and accuracy per row        rewards
    old log-probs    one forward pass also gives the entropies                            worker, actor
    advantages       EasyR1's, with fixes                                                 advantages
    mining           on the driver, just before the update                                trainer, batches
    update           the echo term is added to EasyR1's or the algorithm's policy loss    actor, loss
    metrics          the names and files of the local engine                              trainer

`launch` creates the driver process, `datasets` the problem sets; `dry_run` runs everything without a GPU. Code shared
with the verl engine is in `engines/ray`.
"""

import os

from echorl_vl.engines.ray.adjusted import DRY_RUN

if os.environ.get(DRY_RUN) == "easyr1":  # in every process of the run, before EasyR1 is imported
    from echorl_vl.engines.easyr1.dry_run.install import install

    install()
