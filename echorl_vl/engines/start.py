"""What keeps a run from starting, found before anything heavy is imported and without a retry."""

from __future__ import annotations

from echorl_vl.config import Config
from echorl_vl.engines.hub import check_hub, is_hub_id
from echorl_vl.errors import UserError

_MODEL = "worker.actor.model.model_path"
_DEVICES = ("trainer.n_gpus_per_node", "trainer.nnodes", "worker.rollout.tensor_parallel_size")


def check_start(config: Config, engine: str, reason: str) -> None:
    """Checks the engine that `choose_engine` named, with its reason.

    Raises:
        UserError: the configuration is for another machine than this one, or a model or data set of the hub can't be
            had.
    """
    if engine == "local":
        _check_meant_for_gpus(config, reason)
    if engine == "local" or _is_installed(engine):  # else the engine's `run` says so at once, beside what else is wrong
        check_hub(config, engine)


def _is_installed(engine: str) -> bool:
    from echorl_vl.engines.easyr1.hooks import easyr1_installed
    from echorl_vl.engines.verl.hooks import verl_installed

    return {"easyr1": easyr1_installed, "verl": verl_installed}[engine]()


def _check_meant_for_gpus(config: Config, reason: str) -> None:
    """Refuses a recipe for GPUs that `engine: auto` gives to the local engine for want of EasyR1 or a GPU.

    Such a file asks for devices and for a model of the hub. A model that is a folder here trains on, as `auto` says.
    """
    if config.engine != "auto" or config.trainer.device == "cpu":
        return
    asked = next((key for key in _DEVICES if config.origin(key) != "default"), None)
    path = config.worker.actor.model.model_path
    if asked is None or not path or not is_hub_id(path):
        return
    why = reason.removeprefix("engine = auto, and ")
    raise UserError(
        f"{_MODEL} = {path} ({config.origin(_MODEL)}): this configuration is for EasyR1 and GPUs "
        f"({asked} is set, {config.origin(asked)}); here {why}. Three ways out: run it on a machine "
        "with a GPU and EasyR1 (docs/easyr1.md says how to install it); give a model that is a folder here "
        f"({_MODEL}=FOLDER), or train configs/geo3k_tiny.yaml; or say engine=local, to load {path} from the hub and "
        "train it with the local engine."
    )
