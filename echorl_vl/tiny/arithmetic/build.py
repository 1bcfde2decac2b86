"""The tiny text policy before training: tokenizer, and an untrained Qwen2 with less than a million parameters."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, Qwen2ForCausalLM

from echorl_vl.tiny.files import write_generation_config, write_json, write_tokenizer

MODEL_FOLDER = Path(__file__).parent / "model"
"""The shipped policy."""

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The control tokens of Qwen2, in the same order."""

VOCABULARY_SIZE = 512


def model_config(tokenizer: Tokenizer) -> dict:
    """Return config.json of the tiny text policy."""
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.06,
        "intermediate_size": 320,
        "max_position_embeddings": 1024,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": tokenizer.get_vocab_size(),
    }


def write_configs(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer, config.json and generation_config.json."""
    write_tokenizer(tokenizer, SPECIAL_TOKENS, folder)
    config = model_config(tokenizer)
    write_json(folder / "config.json", config)
    write_generation_config(config, folder)


def new_model(folder: Path, seed: int) -> Qwen2ForCausalLM:
    """Create an untrained model with the configuration in `folder`; the weights depend on the seed alone."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(AutoConfig.from_pretrained(folder)).float()
