"""The files of a tiny policy: tokenizer, weights and JSON files.

The tokenizers are byte-level BPE like Qwen2's, with its chat template and control tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# Qwen2's pre-tokenization: single digits, words with a leading space, punctuation with trailing newlines.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The format of Qwen2.5-VL's template: a default system turn, and images between vision start and end tokens.
CHAT_TEMPLATE = """\
{%- if messages[0].role != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content %}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part %}{{ part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def train_tokenizer(texts: Iterable[str], special_tokens: Sequence[str], vocabulary_size: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer; the ids of special tokens follow those of text tokens, as in Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(special_tokens))
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, special_tokens: Sequence[str], folder: Path) -> None:
    """Write the files in the layout of the published checkpoints; `special_tokens` starts with <|endoftext|>."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "added_tokens_decoder": {
                str(tokenizer.token_to_id(token)): {
                    "content": token,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for token in special_tokens
            },
            "additional_special_tokens": list(special_tokens[1:]),
            "bos_token": None,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 2048,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_generation_config(config: dict, folder: Path) -> None:
    """Write generation_config.json with the token ids of `config`, the content of config.json."""
    write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 1.0,
            "bos_token_id": config["bos_token_id"],
            "pad_token_id": config["pad_token_id"],
            "eos_token_id": [config["eos_token_id"], config["pad_token_id"]],
        },
    )


def write_weights(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write model.safetensors in float32 without the tied head, in one atomic step."""
    kept = {name: tensor.detach().cpu().float().contiguous() for name, tensor in weights.items()}
    kept.pop("lm_head.weight", None)
    partial = folder / ".model.safetensors.partial"
    save_file(kept, partial, metadata={"format": "pt"})
    os.replace(partial, folder / "model.safetensors")
