"""The memory of the machine, and the memory that a model needs, before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from echorl_vl.config import Config, ModelConfig
from echorl_vl.errors import UserError

if TYPE_CHECKING:
    import torch

GIB = 2**30
TRAINED = 16
"""Bytes per trained parameter: float32 weight and gradient, and the two moments of AdamW."""


@dataclass(frozen=True)
class Machine:
    """Bytes of memory of each GPU, and of the machine."""

    gpus: tuple[int, ...]
    memory: int

    @classmethod
    def here(cls) -> Machine:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        gpus = tuple(torch.cuda.get_device_properties(index).total_memory for index in range(count))
        return cls(gpus, psutil.virtual_memory().total)


@dataclass(frozen=True)
class ModelMemory:
    """The memory of a model.

    Attributes:
        parameters: number of parameters.
        needed: bytes of weights, gradients and optimizer.
        what: explains `needed`, for messages.
    """

    parameters: int
    needed: int
    what: str


def model_memory(config: Config, on_gpu: bool) -> ModelMemory | None:
    """The memory of the model of a run on one device, without activations.

    Args:
        config: the run's configuration.
        on_gpu: whether it is on a GPU, where frozen weights may be in bfloat16.

    Returns:
        The memory; None if the shapes of the model are unknown.

    Raises:
        UserError: there is no such model.
    """
    import torch

    from echorl_vl.models import ModelFamily, find_family
    from echorl_vl.models.loading import to_dtype

    model, actor = config.worker.actor.model, config.worker.actor
    empty = empty_model(model)
    if empty is None:
        return None
    tower = (find_family(empty.config) or ModelFamily).tower
    counts = {True: 0, False: 0}
    for name, parameter in empty.named_parameters():
        counts[model.freeze_vision_tower and tower in f".{name}"] += parameter.numel()
    total, frozen = counts[True] + counts[False], counts[True]
    still = (to_dtype(actor.fsdp.torch_dtype) or (torch.bfloat16 if model.lora.rank else torch.float32)).itemsize
    kept = still if on_gpu else 4
    if config.trainer.val_only:
        return ModelMemory(total, total * kept, f"its weights take {kept} bytes each")
    if model.lora.rank:
        return ModelMemory(total, total * kept, f"under LoRA its frozen weights take {kept} bytes each")
    of_reference = 0 if config.algorithm.disable_kl or not config.algorithm.kl_coef else total * kept
    what = f"weights, gradients and AdamW take {TRAINED} bytes of each"
    what += " that is trained, a frozen tower less" if frozen else ""
    what += f", the reference of the KL {kept} more" if of_reference else ""
    return ModelMemory(total, (total - frozen) * TRAINED + frozen * kept + of_reference, what)


def count_parameters(model: ModelConfig) -> int | None:
    """The number of parameters of the model of `worker.actor.model`; None if its shapes are unknown."""
    empty = empty_model(model)
    return None if empty is None else sum(parameter.numel() for parameter in empty.parameters())


def empty_model(model: ModelConfig) -> torch.nn.Module | None:
    """The model of `worker.actor.model` on the meta device; None if it can't be built without its weights."""
    from accelerate import init_empty_weights

    from echorl_vl.models import ModelFamily, find_family

    config = read_model_config(model)
    kind = (find_family(config) or ModelFamily()).auto_class()
    try:
        with init_empty_weights():
            empty = kind.from_config(config, trust_remote_code=model.trust_remote_code)
        empty.tie_weights()  # a tied head is counted once
    except Exception:  # custom code, or a model that this transformers does not know; loading it raises the error
        return None
    return empty


def read_model_config(model: ModelConfig) -> Any:
    """The transformers config of a model, from a folder or the hub.

    Raises:
        UserError: it can't be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model.model_path, trust_remote_code=model.trust_remote_code)
    except Exception as error:
        raise UserError(
            f"model_path = {model.model_path}: the config.json of this model can't be read "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); expected a folder, or a hub id and a network "
            "connection"
        ) from error
