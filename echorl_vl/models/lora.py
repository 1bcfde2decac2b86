"""LoRA adapters: put on a model, and merged into a copy of it."""

from __future__ import annotations

import copy
import warnings

import torch
from transformers import PreTrainedModel

from echorl_vl.errors import UserError


def add_lora(model: PreTrainedModel, lora) -> torch.nn.Module:
    """The model with LoRA adapters in float32 and everything else frozen.

    `lora.target_modules` is "all-linear" or a comma-separated list of module names, `lora.exclude_modules` a regular
    expression over full module names.
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
            warnings.filterwarnings("ignore", ".*tie_word_embeddings.*")  # `merged` sees to it
            adapted = get_peft_model(model, settings)
    except ValueError as error:
        raise UserError(f"lora.target_modules or lora.exclude_modules don't fit the model: {error}") from None
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def merged(model: torch.nn.Module) -> PreTrainedModel:
    """A copy of a peft model with the adapters merged in: what it computes, as a transformers model.

    A copy, since merging and unmerging in place would change the last bits of the weights in training. A head that is
    tied to the embeddings has one weight with them, but an adapter is on one of the two alone, or another on each: such
    a pair is untied before, in the weights and in the configuration.
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
