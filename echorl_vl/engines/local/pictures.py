"""How a vision-language policy reads pictures: features in place of image tokens, positions in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from echorl_vl.errors import UserError
from echorl_vl.models.images import distinct_pictures
from echorl_vl.models.qwen2_5_vl import mrope_positions


class PictureReader:
    """The vision tower's side of a policy.

    Attributes:
        calls: calls of the vision tower. images: pictures in them.
    """

    def __init__(self, network, image_pad: int) -> None:
        self._network, self._image_pad = network, image_pad
        self._merge = network.config.vision_config.spatial_merge_size
        self.calls = self.images = 0

    def place(self, embeddings: Tensor, ids: Tensor, prompts: Sequence) -> Tensor:
        """The embeddings (N, hidden) of the prompts' tokens (N,), with the features of their pictures in place.

        The distinct pictures pass the tower in one call.
        """
        pictures = distinct_pictures(list(prompts))
        if pictures is None:
            return embeddings
        features = self._features(pictures.pixel_values, pictures.grid_thw)
        wanted = torch.cat([features[i] for own in pictures.prompt_index for i in own])
        at = (ids == self._image_pad).nonzero().squeeze(-1)
        return embeddings.index_copy(0, at, wanted.to(embeddings.dtype))

    def positions(self, prompts: Sequence) -> tuple[list[Tensor], Tensor]:
        """Rotary positions of each prompt, (3, L), and those that follow, (P,).

        Raises UserError naming the problem whose image tokens don't fit its pictures.
        """
        positions, following = [], []
        for prompt in prompts:
            try:
                own, after = mrope_positions(prompt.input_ids, prompt.image_grid_thw, self._image_pad, self._merge)
            except UserError as error:
                raise UserError(f"problem {getattr(prompt.problem, 'uid', '?')}: {error}") from None
            positions.append(own)
            following.append(after)
        return positions, torch.tensor(following)

    def _features(self, pixel_values: Tensor, grid_thw: Tensor) -> Sequence[Tensor]:
        """(tokens, hidden) of each picture."""
        self.calls += 1
        self.images += len(grid_thw)
        device = next(self._network.parameters()).device
        out = self._network.get_image_features(pixel_values.to(device), grid_thw.to(device))
        return getattr(out, "pooler_output", out)  # transformers 5 wraps them, 4.57 doesn't
