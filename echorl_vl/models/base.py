"""`ModelFamily`: the interface to one model architecture.

A family is one module of this folder; `model_type` in a model's config.json selects it. The package uses it in this
order:

    ImageProcessing    sizes and tokens of images, encoding                             data/prompts
    split_images       the images of an encoded prompt                                  engines/local/policy
    image_features     the features that replace image tokens (and enter deeper layers) engines/local/policy
    positions          rotary positions of a prompt                                     engines/local/policy
    decoder, head      the parts of the network                                         engines/local/policy
    forward_inputs     the image inputs of transformers' forward                        evaluation/generation

A family has no state: one object serves all of its models.
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
    """Base class of model families, for vision-language models in transformers.

    Attributes:
        model_types: values of `model_type` in config.json.
        image_token: attribute in the configuration, and text in the tokenizer, of the token that image features
            replace; a prompt has one per feature. None for a text-only family.
        other_visual_tokens: the same for other tokens that the policy must not sample; the attribute is None if the
            configuration has none.
        processing: the `ImageProcessing` class of the image processor. None for a text-only family.
        position_axes: number of axes of a rotary position.
        tower: substring of the names of the vision tower's parameters.
    """

    model_types: ClassVar[tuple[str, ...]]
    image_token: ClassVar[tuple[str, str] | None] = None
    other_visual_tokens: ClassVar[tuple[tuple[str | None, str], ...]] = ()
    processing: ClassVar[type[ImageProcessing] | None] = None
    position_axes: ClassVar[int] = 1
    tower: ClassVar[str] = ".visual."

    @property
    def reads_images(self) -> bool:
        """Whether prompts may contain images."""
        return self.processing is not None

    def reads(self, config: Any) -> bool:
        """Whether a model with this transformers configuration belongs to the family."""
        return getattr(config, "model_type", None) in self.model_types

    def auto_class(self) -> Any:
        """Return the transformers class that loads the models."""
        from transformers import AutoModelForImageTextToText  # imported here: text runs do not need vision code

        return AutoModelForImageTextToText

    def decoder(self, network: Any) -> torch.nn.Module:
        """Return the layers between the embeddings and the head."""
        return network.model.language_model

    def head(self, network: Any) -> torch.nn.Module:
        """Return the module that maps hidden states (..., hidden) to logits (..., V)."""
        return network.get_output_embeddings()

    def split_images(self, prompt: Prompt) -> list[EncodedImage]:
        """Return the images of a prompt in the order of its text; by default, one per entry of `pixel_values`."""
        return [] if prompt.pixel_values is None else [EncodedImage(pixels) for pixels in prompt.pixel_values.split(1)]

    def image_features(self, network: Any, images: Sequence[EncodedImage]) -> Sequence[Tensor]:
        """Compute the features (n, hidden) of each image, for its n image tokens, in one call of the vision tower.

        If features also enter K layers of the decoder, they are (n, (1 + K) * hidden), see `deeper_inputs`.
        """
        raise NotImplementedError

    def deeper_inputs(self, features: Tensor) -> dict[str, Any]:
        """Return the decoder's keyword arguments for features (b, N, K, hidden) of its layers, 0 at other tokens."""
        raise NotImplementedError

    def positions(self, network: Any, prompt: Prompt, image_id: int | None) -> tuple[Tensor, int]:
        """Return the rotary positions (axes, L) of a prompt and the position of the next token. By default, 0 .. L-1.

        Raises:
            UserError: the image tokens of the prompt don't match its images.
        """
        length = len(prompt.input_ids)
        return torch.arange(length).expand(self.position_axes, -1), length

    def forward_inputs(self, network: Any, ids: Tensor, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """Return the image inputs of transformers' forward and `generate` for prompts with ids (B, L)."""
        pixels = [prompt.pixel_values for prompt in prompts if prompt.pixel_values is not None]
        return {"pixel_values": torch.cat(pixels)} if pixels else {}


FAMILIES: dict[str, ModelFamily] = {}


def register(cls: type[ModelFamily]) -> type[ModelFamily]:
    """Class decorator that registers a family under the name of its class."""
    if cls.__name__ in FAMILIES:
        raise ValueError(f"two model families are named {cls.__name__}")
    FAMILIES[cls.__name__] = cls()
    return cls


def has_images(config: Any) -> bool:
    """Whether a transformers configuration belongs to a model that reads images."""
    return getattr(config, "vision_config", None) is not None


def find_family(config: Any) -> ModelFamily | None:
    """Return the family of a model with this transformers configuration, or None if it is unknown."""
    return next((family for family in FAMILIES.values() if family.reads(config)), None)


def family_of(config: Any, path: str = "") -> ModelFamily:
    """Return the family of a model with this transformers configuration.

    Raises:
        UserError: the family is unknown; the message starts with `path`.
    """
    family = find_family(config)
    if family is None:
        known = ", ".join(kind for family in FAMILIES.values() for kind in family.model_types)
        raise UserError(
            f"{path}{': ' * bool(path)}vision-language models of type {config.model_type!r} are not supported; "
            f"expected one of {known}, or a text-only causal language model"
        )
    return family


def image_processing(
    processor: Any,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    family: ModelFamily | None = None,
) -> ImageProcessing:
    """Return the image processing of a processor.

    Args:
        processor: a transformers processor.
        min_pixels: minimum size of a resized image. None: the limit of the processor.
        max_pixels: maximum size of a resized image. None: the limit of the processor.
        family: the family of the model. None: unknown; the family is found by the processor.

    Raises:
        UserError: no family supports the processor, or min_pixels exceeds max_pixels.
    """
    if family is not None:
        return family.processing(processor, min_pixels, max_pixels)
    classes = dict.fromkeys(family.processing for family in FAMILIES.values() if family.processing is not None)
    for processing in classes:
        if processing.supports(processor):
            return processing(processor, min_pixels, max_pixels)
    raise UserError(
        f"the model's image processor {type(processor).__name__} is not supported; expected one that "
        f"{', or '.join(processing.description for processing in classes)}"
    )
