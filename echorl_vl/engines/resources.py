"""The machine and the model of a run: memory, GPUs, and what is known of a model before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from echorl_vl.config import ModelConfig
from echorl_vl.errors import UserError

if TYPE_CHECKING:
    import torch

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """What a run can use: bytes of memory of each GPU of this machine, and of the machine itself."""

    gpus: tuple[int, ...]
    memory: int

    @classmethod
    def here(cls) -> Machine:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        gpus = tuple(torch.cuda.get_device_properties(index).total_memory for index in range(count))
        return cls(gpus, psutil.virtual_memory().total)


def count_parameters(model: ModelConfig) -> int | None:
    """Parameters of the model that `worker.actor.model` names, built without memory; None if that can't be told."""
    empty = empty_model(model)
    return None if empty is None else sum(parameter.numel() for parameter in empty.parameters())


def empty_model(model: ModelConfig) -> torch.nn.Module | None:
    """The model that `worker.actor.model` names, with shapes and without numbers; None if that can't be told."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    config = read_model_config(model)
    kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    try:
        with init_empty_weights():
            empty = kind.from_config(config, trust_remote_code=model.trust_remote_code)
        empty.tie_weights()  # a tied head is one parameter
    except Exception:  # a model of its own code, or newer than this transformers: the engine will say
        return None
    return empty


def read_model_config(model: ModelConfig) -> Any:
    """transformers' config of a model, from its folder or the hub. Raises UserError if it can't be had."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model.model_path, trust_remote_code=model.trust_remote_code)
    except Exception as error:
        raise UserError(
            f"model_path = {model.model_path}: the configuration of this model can't be had "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); wanted a folder, or a hub id and a network"
        ) from error
