"""Qwen3-VL.

Images are encoded and counted as for Qwen2.5-VL. Their features also enter the first layers of the decoder: the vision
tower returns K additional features of each image token, from K of its layers (DeepStack, arXiv 2406.04334), and layer k
of the decoder adds the k-th of them to its output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from echorl_vl.models.base import register
from echorl_vl.models.images import EncodedImage
from echorl_vl.models.qwen2_5_vl import Qwen2_5_VL


@register
class Qwen3VL(Qwen2_5_VL):
    """Qwen3-VL."""

    model_types = ("qwen3_vl",)

    def image_features(self, network: Any, images: Sequence[EncodedImage]) -> Sequence[Tensor]:
        device = next(network.parameters()).device
        pixel_values = torch.cat([image.pixel_values for image in images]).to(device)
        out = network.get_image_features(pixel_values, torch.stack([image.grid_thw for image in images]).to(device))
        if isinstance(out, tuple):  # transformers 4.57, where additional features are not split by image
            features, deeper = out
            deeper = [layer.split([len(rows) for rows in features]) for layer in deeper]
        else:
            features, deeper = out.pooler_output, out.deepstack_features
        return [torch.cat(layers, -1) for layers in zip(features, *deeper, strict=True)]

    def deeper_inputs(self, features: Tensor) -> dict[str, Any]:
        everywhere = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        return {"visual_pos_masks": everywhere, "deepstack_visual_embeds": list(features.flatten(0, 1).unbind(1))}
