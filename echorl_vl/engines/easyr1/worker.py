"""EasyR1's FSDP worker with `EchoActor`: one process on one GPU."""

from __future__ import annotations

from typing import Any

from verl.protocol import DataProto
from verl.single_controller.base import Worker
from verl.single_controller.base.decorator import Dispatch, register
from verl.workers.fsdp_workers import FSDPWorker
from verl.workers.rollout import vllm_rollout_spmd

from echorl_vl.engines.easyr1.actor import EchoActor
from echorl_vl.engines.ray.hooks import patched
from echorl_vl.models.tokens import VisualTokens

FORBIDDEN = -100.0  # logit bias, EasyR1's own for image pads


class EchoWorkerMixin(Worker):
    """Methods that the adapter adds to FSDPWorker.

    EasyR1 builds a worker's process from the `__base__` of the worker class, which is this mixin, and creates it
    without arguments. So it is a Worker and has no `__init__`.
    """

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        """Load the models. The actor becomes an EchoActor; the reference policy is EasyR1's."""
        super().init_model()
        if self._has_actor:
            self.actor = EchoActor(
                config=self.config.actor, actor_module=self.fsdp_module, actor_optimizer=self.optimizer
            )
        if self._has_critic:
            self.critic.config = self.config.critic  # EasyR1 passes the whole section `worker`, which fails
            network = self.fsdp_module.module
            network.generation_config = network.generation_config or self.generation_config  # needed to save it

    @register(dispatch_mode=Dispatch.DP_COMPUTE_PROTO)
    def compute_log_probs(self, data: DataProto) -> DataProto:
        """`old_log_probs` and `entropies` (nats) of one forward pass, both (b, T)."""
        output = super().compute_log_probs(data)
        log_probs, entropies = output.batch["old_log_probs"].unbind(-1)
        output.batch["old_log_probs"] = log_probs.contiguous()
        output.batch["entropies"] = entropies.contiguous()
        return output

    def _build_rollout(self) -> None:
        if not self.config.actor.echo.coef:
            return super()._build_rollout()
        with patched(vllm_rollout_spmd, _get_logit_bias=self._logit_bias):
            return super()._build_rollout()

    def _logit_bias(self, processor: Any) -> dict[int, float] | None:
        """Logit bias that forbids all visual tokens; EasyR1's own forbids image pads only."""
        ids = VisualTokens.find(self.model_config, self.tokenizer).ids if processor is not None else ()
        return {token: FORBIDDEN for token in ids} or None


class EchoWorker(EchoWorkerMixin, FSDPWorker):
    """FSDPWorker with the echo term. All roles use it, since EasyR1 needs one class per process."""
