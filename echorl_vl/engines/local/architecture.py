"""Finds out before any work whether the engine computes a model right."""

from __future__ import annotations

import torch

from echorl_vl.config import Config
from echorl_vl.engines.local.packing import PackedRows
from echorl_vl.errors import UserError

WORKING = "models with plain causal attention work: Qwen2.5-VL, Qwen2-VL, Qwen2.5, Llama and the like"


@torch.no_grad()
def check_architecture(policy) -> None:
    """Compares the packed pass with the model's own forward on a few tokens.

    Windows, caps or scalings that the packed pass knows nothing of show here.

    Raises:
        UserError: the logits differ, or the attention asks for something that ours does not have.
    """
    allowed = torch.tensor([i for i in range(min(policy.vocab_size, 200)) if i not in policy.visual.ids])
    ids = allowed[torch.arange(11) * 7 % len(allowed)].to(policy.device)
    prompt, response = ids[:6], ids[6:]
    layout = PackedRows(torch.tensor([6]), torch.tensor([0, 0]), torch.tensor([5, 5]), policy.device)
    axes = 3 if policy.has_vision else 1
    positions = layout.positions([torch.arange(6).expand(axes, -1)], torch.tensor([6]))
    row = torch.cat([prompt, response[:-1], response[:-1]])
    with policy.autocast():
        hidden = policy.run_decoder(policy.network.get_input_embeddings()(row), positions, layout)
        packed = policy.head(hidden[layout.predictors()]).float()
        plain = policy.network(input_ids=ids[None, :-1]).logits[0, 5:].float().repeat(2, 1)
    half = policy.compute_dtype != torch.float32 or policy.head.weight.dtype != torch.float32
    tolerance = (float(plain.std()) + 1e-6) * (0.1 if half else 1e-3)
    if not torch.allclose(packed, plain, rtol=0, atol=tolerance):
        raise UserError(
            f"the local engine does not compute {type(policy.network).__name__} right (its logits are off by "
            f"{float((packed - plain).abs().max()):.2g}); {WORKING}"
        )


def check_window(policy, config: Config, hints: bool = False) -> None:
    """Raises UserError if a prompt (`hints`: with a hint) and its response could exceed what the attention sees."""
    layers = [
        module for module in policy.decoder.modules() if hasattr(module, "layer_idx") and hasattr(module, "config")
    ]
    # A layer has a window of its own (None: it sees everything), or reads the model's.
    windows = [getattr(layer, "sliding_window", getattr(layer.config, "sliding_window", None)) for layer in layers]
    window = min((size for size in windows if size is not None), default=None)
    longest = config.data.max_prompt_length + config.data.max_response_length * (
        1 + hints
    )  # a hint is a response's part
    if window is not None and longest > window:
        raise UserError(
            f"data.max_prompt_length + data.max_response_length = {longest} tokens, and "
            f"{type(policy.network).__name__} sees the last {window} only; the local engine wants at most {window}"
        )
