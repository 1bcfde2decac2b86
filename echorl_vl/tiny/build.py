"""The tiny policy before training: tokenizer, processor, and an untrained Qwen2.5-VL with 1.8 million parameters.

The model folder has the layout of the published Qwen2.5-VL checkpoints (flat config.json, weight names of the first
release), which transformers 4.57 and later can read.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from echorl_vl.generators.geometry3k.canvas import PATCH
from echorl_vl.tiny.files import CHAT_TEMPLATE, write_generation_config, write_json, write_tokenizer, write_weights

MODEL_FOLDER = Path(__file__).parent / "model"
"""The shipped policy."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""The control tokens of Qwen2.5-VL, in the same order."""


def write_processor(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer and processor files in the layout of the published checkpoints."""
    write_tokenizer(tokenizer, SPECIAL_TOKENS, folder)
    write_json(folder / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    write_json(
        folder / "preprocessor_config.json",
        {
            "min_pixels": 4 * PATCH * PATCH,
            "max_pixels": 1024 * PATCH * PATCH,
            "patch_size": PATCH,
            "temporal_patch_size": 2,
            "merge_size": 2,
            # White becomes 0, so that an empty patch has zero input.
            "image_mean": [1.0, 1.0, 1.0],
            "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )


def model_config(tokenizer: Tokenizer) -> dict:
    """Return config.json of the tiny policy, in the flat form of the published checkpoints."""
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.02,
        "intermediate_size": 320,
        "max_position_embeddings": 2048,
        "max_window_layers": 4,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "sliding_window": 2048,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 4,
            "hidden_act": "silu",
            "hidden_size": 128,
            "intermediate_size": 192,
            "num_heads": 4,
            "in_chans": 3,
            "out_hidden_size": 128,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "spatial_patch_size": PATCH,
            "window_size": 112,
            "fullatt_block_indexes": [1, 3],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "vocab_size": tokenizer.get_vocab_size(),
    }


def new_model(folder: Path, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """Create an untrained model with the configuration in `folder`; the weights depend on the seed alone."""
    torch.manual_seed(seed)
    return Qwen2_5_VLForConditionalGeneration(AutoConfig.from_pretrained(folder)).float()


def write_model(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Write the weights to model.safetensors under the published names, in one atomic step."""
    names = (("model.visual.", "visual."), ("model.language_model.", "model."))
    weights = {}
    for name, tensor in model.state_dict().items():
        for current, published in names:
            if name.startswith(current):
                name = published + name.removeprefix(current)
                break
        weights[name] = tensor
    write_weights(weights, folder)


def write_config(tokenizer: Tokenizer, folder: Path) -> None:
    """Write config.json and generation_config.json."""
    config = model_config(tokenizer)
    write_json(folder / "config.json", config)
    write_generation_config(config, folder)
