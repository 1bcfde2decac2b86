"""LoRA adapters: add them to a model, and merge them into a copy of it."""

from __future__ import annotations

import copy
import warnings

import torch
from transformers import PreTrainedModel

from echorl_vl.errors import UserError


def add_lora(model: PreTrainedModel, lora) -> torch.nn.Module:
    """Add LoRA adapters in float32 to a model and freeze its other parameters.

    Args:
        model: the model, modified in place.
        lora: `worker.actor.model.lora` of the configuration. `target_modules` is "all-linear" or a comma-separated list
            of module names; `exclude_modules` is a regular expression for full module names.

    Raises:
        UserError: target_modules or exclude_modules don't match the model.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    targets = lora.target_modules.strip()
    if targets != "all-linear":
        targets = [name.strip() for name in targets.split(",") if name.strip()]
    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=targets,
        exclude_modules=lora.exclude_modules or None,
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tie_word_embeddings.*")  # `merged` unties them
            adapted = get_peft_model(model, settings)
    except ValueError as error:
        raise UserError(f"lora.target_modules or lora.exclude_modules don't match the model: {error}") from None
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def merged(model: torch.nn.Module) -> PreTrainedModel:
    """Return a copy of a peft model with merged adapters, as a transformers model.

    The model is copied because merging and unmerging in place would change the last bits of its weights. If the head is
    tied to the embeddings and one of them has an adapter, they are untied first, in the weights and the configuration.
    """
    model = copy.deepcopy(model)
    network = model.get_base_model()
    pair = network.get_input_embeddings(), network.get_output_embeddings()
    bases = [getattr(layer, "base_layer", layer) for layer in pair]
    if bases[0].weight is bases[1].weight and any(layer is not base for layer, base in zip(pair, bases, strict=True)):
        bases[1].weight = torch.nn.Parameter(bases[1].weight.detach().clone(), requires_grad=False)
        for config in (network.config, network.config.get_text_config()):
            config.tie_word_embeddings = False
    return model.merge_and_unload()
