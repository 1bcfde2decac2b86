"""Whether the steps of a run depend on how many there are in all."""

from __future__ import annotations

from echorl_vl.algorithms import Capability, make_algorithm
from echorl_vl.config import Config


def tied_to_length(config: Config) -> str | None:
    """The setting by which a step depends on the number of all steps; None: the run can be made longer on the way.

    The decay of the echo term's weight is none: it has a length of its own (`echo.decay_steps`).
    """
    roles = {"actor": config.worker.actor.optim}
    if config.algorithm.adv_estimator == "gae":
        roles["critic"] = config.worker.critic.optim
    for role, optim in roles.items():
        if optim.lr_scheduler_type != "constant":
            return f"worker.{role}.optim.lr_scheduler_type = {optim.lr_scheduler_type}"
        if optim.lr_warmup_steps is None and optim.lr_warmup_ratio > 0:
            return f"worker.{role}.optim.lr_warmup_ratio = {optim.lr_warmup_ratio}"
    if Capability.HINTS in make_algorithm(config.algorithm.name, config.algorithm.options).needs:
        return f"algorithm.name = {config.algorithm.name} (the schedule of its hints)"
    return None
