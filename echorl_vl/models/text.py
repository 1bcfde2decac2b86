"""Text-only causal language models: Qwen2.5, Llama and others."""

from __future__ import annotations

from typing import Any

import torch

from echorl_vl.models.base import ModelFamily, has_images, register


@register
class Text(ModelFamily):
    """All models without a vision tower."""

    model_types = ()

    def reads(self, config: Any) -> bool:
        return not has_images(config)

    def auto_class(self) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def decoder(self, network: Any) -> torch.nn.Module:
        return network.get_decoder()
