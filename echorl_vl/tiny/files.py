"""Files of a tiny policy's folder: weights and small JSON files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_generation_config(config: dict, folder: Path) -> None:
    """Writes generation_config.json for the token ids in `config` (a config.json)."""
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
    """Writes model.safetensors in float32 without the head, which is tied; the old file stays until then."""
    kept = {name: tensor.detach().cpu().float().contiguous() for name, tensor in weights.items()}
    kept.pop("lm_head.weight", None)
    partial = folder / ".model.safetensors.partial"
    save_file(kept, partial, metadata={"format": "pt"})
    os.replace(partial, folder / "model.safetensors")
