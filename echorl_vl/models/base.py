"""What a model family is: all that has to be known of one kind of model, in one class.

A family is one file of this folder, found by being there, and `model_type` of a model's config.json picks it. The rest
of the package asks it, in this order:

    ImageProcessing    sizes and tokens of images, before and when they are encoded     data/prompts
    split_images       the images of an encoded prompt                                  engines/local/policy
    image_features     what enters in place of their tokens (and deeper)                engines/local/policy
    positions          rotary positions of a prompt                                     engines/local/policy
    decoder, head      the parts of the network                                         engines/local/policy
    forward_inputs     what transformers' own forward takes of the images               evaluation/generation

A family has no state: one object serves all models of its kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from echorl_vl.errors import UserError
from echorl_vl.models.images import EncodedImage, ImageProcessing
from echorl_vl.types import Prompt


class ModelFamily:
    """A kind of vision-language model that transformers loads.

    Attributes:
        model_types: `model_type` of the configurations that it reads.
        image_token: attribute of the configuration and text in the tokenizer of the token that stands for image
            features, one for each of them.
        other_visual_tokens: the same of tokens that the policy may not write either; None where the configuration
            names no such token.
        processing: the class that knows its image processors.
        position_axes: axes of a rotary position.
        tower: what the names of the vision tower's parameters contain.
    """

    model_types: ClassVar[tuple[str, ...]]
    image_token: ClassVar[tuple[str, str] | None] = None
    other_visual_tokens: ClassVar[tuple[tuple[str | None, str], ...]] = ()
    processing: ClassVar[type[ImageProcessing] | None] = None
    position_axes: ClassVar[int] = 1
    tower: ClassVar[str] = ".visual."

    @property
    def reads_images(self) -> bool:
        """Whether a prompt may hold images."""
        return self.processing is not None

    def reads(self, config: Any) -> bool:
        """Whether a model of this configuration (transformers') is of this family."""
        return getattr(config, "model_type", None) in self.model_types

    def auto_class(self) -> Any:
        """The class of transformers that loads its models."""
        from transformers import AutoModelForImageTextToText  # a text run loads nothing of vision

        return AutoModelForImageTextToText

    def decoder(self, network: Any) -> torch.nn.Module:
        """The stack of layers between embeddings and head."""
        return network.model.language_model

    def head(self, network: Any) -> torch.nn.Module:
        """From hidden states (..., hidden) to logits (..., V)."""
        return network.get_output_embeddings()

    def split_images(self, prompt: Prompt) -> list[EncodedImage]:
        """The images of a prompt, in the order of its text. Here an image is one entry of `pixel_values`."""
        return [] if prompt.pixel_values is None else [EncodedImage(pixels) for pixels in prompt.pixel_values.split(1)]

    def image_features(self, network: Any, images: Sequence[EncodedImage]) -> Sequence[Tensor]:
        """(n, hidden) of each image, for its n image tokens; the tower is called once.

        Where features enter K layers of the decoder as well they are (n, (1 + K) * hidden), see `deeper_inputs`.
        """
        raise NotImplementedError

    def deeper_inputs(self, features: Tensor) -> dict[str, Any]:
        """Keyword arguments of the decoder for features (b, N, K, hidden) that enter its layers, 0 for other tokens."""
        raise NotImplementedError

    def positions(self, network: Any, prompt: Prompt, image_id: int | None) -> tuple[Tensor, int]:
        """(axes, L) rotary positions of a prompt, and the position of the token that follows it. Here they count.

        Raises UserError if its image tokens don't fit its images.
        """
        length = len(prompt.input_ids)
        return torch.arange(length).expand(self.position_axes, -1), length

    def forward_inputs(self, network: Any, ids: Tensor, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """What transformers' own forward and `generate` take beside the prompts' ids (B, L) for their images."""
        pixels = [prompt.pixel_values for prompt in prompts if prompt.pixel_values is not None]
        return {"pixel_values": torch.cat(pixels)} if pixels else {}


FAMILIES: dict[str, ModelFamily] = {}


def register(cls: type[ModelFamily]) -> type[ModelFamily]:
    """Class decorator: makes a family known by the name of its class."""
    if cls.__name__ in FAMILIES:
        raise ValueError(f"two model families are called {cls.__name__}")
    FAMILIES[cls.__name__] = cls()
    return cls


def has_images(config: Any) -> bool:
    """Whether a configuration (transformers') is that of a model that reads images."""
    return getattr(config, "vision_config", None) is not None


def find_family(config: Any) -> ModelFamily | None:
    """The family of a model of this configuration (transformers'); None for one of no known family."""
    return next((family for family in FAMILIES.values() if family.reads(config)), None)


def family_of(config: Any, path: str = "") -> ModelFamily:
    """As `find_family`. Raises UserError, naming `path`, for a model of no known family."""
    family = find_family(config)
    if family is None:
        known = ", ".join(kind for family in FAMILIES.values() for kind in family.model_types)
        raise UserError(
            f"{path}{': ' * bool(path)}images of a {config.model_type!r} model are not known here; "
            f"these work: {known}, and text-only causal language models"
        )
    return family


def image_processing(
    processor: Any,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    family: ModelFamily | None = None,
) -> ImageProcessing:
    """How a processor makes tokens of images, which have from `min_pixels` to `max_pixels` then.

    Args:
        min_pixels: None is the processor's own limit.
        max_pixels: the same.
        family: the model's. None: a model of no known family may have the processor of one.

    Raises:
        UserError: a processor of no known family, or limits that leave no size.
    """
    if family is not None:
        return family.processing(processor, min_pixels, max_pixels)
    kinds = dict.fromkeys(family.processing for family in FAMILIES.values() if family.processing is not None)
    for kind in kinds:
        if kind.takes(processor):
            return kind(processor, min_pixels, max_pixels)
    raise UserError(
        f"images can't be read with the model's processor {type(processor).__name__}; expected one that "
        f"{', or '.join(kind.does for kind in kinds)}"
    )
