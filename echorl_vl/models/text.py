"""Causal language models of text: Qwen2.5, Llama and the like."""

from __future__ import annotations

from typing import Any

import torch

from echorl_vl.models.base import ModelFamily, has_images, register


@register
class Text(ModelFamily):
    """Whatever has no vision part; positions count, and no prompt holds an image."""

    model_types = ()

    def reads(self, config: Any) -> bool:
        return not has_images(config)

    def auto_class(self) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def decoder(self, network: Any) -> torch.nn.Module:
        return network.get_decoder()
