"""Tiny models with random weights, a tokenizer with Qwen's special tokens, and prompts, all made in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from echorl_vl.engines.local.policy import Policy

VISUAL = ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISUAL]
PATCH_DIM = 3 * 2 * 14 * 14


def fresh_tokenizer(*more: str) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes with Qwen's special tokens, 264 ids, and optionally more tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", *VISUAL, *more],
    )


@lru_cache
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that the tests share."""
    return fresh_tokenizer()


def token_id(token: str) -> int:
    return tokenizer().get_vocab()[token]


def vl_config(hidden: int = 32, layers: int = 2, vision: int = 16, intermediate: int = 48, depth: int = 2):
    """Two query heads per key head; head_dim is at least 8, split into mRoPE sections."""
    head = hidden // 4
    quarter = head // 8
    return Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=272,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            rope_scaling={"type": "mrope", "rope_type": "default", "mrope_section": [2 * quarter, quarter, quarter]},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=token_id("<|im_end|>"),
            pad_token_id=token_id("<|endoftext|>"),
        ),
        vision_config=dict(
            depth=depth,
            hidden_size=vision,
            intermediate_size=2 * vision,
            num_heads=4,
            out_hidden_size=hidden,
            fullatt_block_indexes=[depth - 1],
            window_size=56,
        ),
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def vl_model(seed: int = 0, spread: float = 0.3, **sizes) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(seed)
    return spread_weights(Qwen2_5_VLForConditionalGeneration(vl_config(**sizes)), spread)


def text_model(kind: str = "qwen2", seed: int = 0, spread: float = 0.3, max_positions: int = 4096, **changes):
    """A Qwen2 or Llama model of 2 layers, untied."""
    torch.manual_seed(seed)
    sizes = dict(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_positions,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=token_id("<|im_end|>"),
        pad_token_id=token_id("<|endoftext|>"),
        **changes,
    )
    made = Qwen2ForCausalLM(Qwen2Config(**sizes)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**sizes))
    return spread_weights(made, spread)


def spread_weights(model, width: float):
    """Makes the weights random with this standard deviation, so that distributions are far from uniform."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, width)
    return model.eval()


def vl_policy(**options) -> Policy:
    return Policy(vl_model(**options), tokenizer())


def text_policy(kind: str = "qwen2", **options) -> Policy:
    return Policy(text_model(kind, **options), tokenizer())


@dataclass(frozen=True)
class Prompt:
    """The fields of `types.Prompt` that the engine needs."""

    problem: object
    input_ids: torch.Tensor
    pixel_values: torch.Tensor | None = None
    image_grid_thw: torch.Tensor | None = None
    hint_tokens: int = 0


def prompt(text: str, *sizes: tuple[int, int], seed: int = 0) -> Prompt:
    """A prompt with random images before its text; sizes are even numbers of 14-pixel patches (rows, columns)."""
    noise = torch.Generator().manual_seed(seed)
    encoded = tokenizer()(text)["input_ids"]
    ids = [token_id("<|im_start|>")]
    for rows, columns in sizes:
        ids += [
            token_id("<|vision_start|>"),
            *[token_id("<|image_pad|>")] * (rows * columns // 4),
            token_id("<|vision_end|>"),
        ]
        ids += encoded[:2]
    ids = torch.tensor([*ids, *encoded])
    problem = SimpleNamespace(uid=f"tiny:{text}")
    if not sizes:
        return Prompt(problem, ids)
    grid = torch.tensor([[1, rows, columns] for rows, columns in sizes])
    return Prompt(problem, ids, torch.randn(int(grid.prod(-1).sum()), PATCH_DIM, generator=noise), grid)


def naive_logits(policy: Policy, item: Prompt, response: torch.Tensor) -> torch.Tensor:
    """(T, V) logits of a response from transformers' own forward pass over the whole sequence, with gradient."""
    ids = torch.cat([item.input_ids, response])[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if item.pixel_values is not None:
        inputs |= {"pixel_values": item.pixel_values, "image_grid_thw": item.image_grid_thw}
        policy.network.model.rope_deltas = None
        if "mm_token_type_ids" in signature(policy.network.forward).parameters:  # transformers 5
            inputs["mm_token_type_ids"] = (ids == policy.visual.image_pad).int()
    elif policy.family.reads_images:
        inputs["position_ids"] = torch.arange(ids.shape[1]).expand(3, 1, -1)
    return policy.network(**inputs, use_cache=False).logits[0, len(item.input_ids) - 1 : -1].float()


def naive_forward(policy: Policy, item: Prompt, response: torch.Tensor, temperature: float):
    """Log-probs and entropies (T,) of one response from `naive_logits`."""
    logits = naive_logits(policy, item, response)
    log_p = torch.log_softmax(logits / temperature, -1)
    return log_p.gather(-1, response[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)
