"""Checks of a model's weights before they are used: whole files, finite numbers, and the tensors that the model has."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from echorl_vl.errors import UserError

INDEX = "model.safetensors.index.json"


def check_weight_files(folder: str | Path) -> None:
    """Reads every safetensors file of a model folder once, tensor by tensor.

    Raises:
        UserError: a file is missing or damaged, or a tensor holds NaN or infinite numbers; names file and tensor.
    """
    for path in weight_files(folder):
        try:
            with safe_open(path, "pt") as file:
                check_finite(((name, file.get_tensor(name)) for name in file.keys()), f"{folder}: {path.name}")  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{folder}: can't load the weights, {path.name} is damaged or cut off ({error}); copy or download it "
                "again"
            ) from error


def weight_files(folder: str | Path) -> list[Path]:
    """The safetensors files that a model's weights are in; those of its index where there is one.

    Raises UserError if a file of the index is missing.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file() or (folder / "model.safetensors").is_file():
        return sorted(folder.glob("model*.safetensors"))
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{folder}: can't load the weights, {INDEX} can't be read ({error})") from error
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise UserError(f"{folder}: can't load the weights, {missing[0]} is missing, which {INDEX} names")
    return [folder / name for name in names]


def check_finite(tensors: Iterable[tuple[str, torch.Tensor]], source: str) -> None:
    """Raises UserError, which names `source` and the first tensor with a NaN or an infinite number."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            least, most = torch.aminmax(tensor.detach())  # both are NaN where anything is; nothing is copied
            if not (torch.isfinite(least) and torch.isfinite(most)):
                raise UserError(
                    f"{source}: {name} holds NaN or infinite numbers, expected finite weights; a training that went "
                    "wrong, or a damaged file"
                )


def check_keys(model: torch.nn.Module, info: dict[str, Any], path: str) -> None:
    """Whether a checkpoint has the tensors of `model`, and no others.

    Args:
        info: the loading info of transformers' from_pretrained.

    Raises:
        UserError: names folder, tensor, and what config.json makes of it.
    """
    kind = type(model).__name__
    mismatched = info.get("mismatched_keys", ())  # names in transformers 4, with both shapes behind them in 5
    for name in sorted(key if isinstance(key, str) else key[0] for key in mismatched):
        file, found = _in_files(path, name)
        raise UserError(
            f"{path}: {name} has the shape {found} in {file}, expected {tuple(model.state_dict()[name].shape)} by "
            f"config.json ({kind}); weights and config.json are of two models"
        )
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{path}: the weights lack {len(missing)} tensor(s) of {kind}, the first is {missing[0]}; an incomplete or "
            "foreign checkpoint, or a config.json of another model"
        )
    # Buffers that older versions of transformers saved, and made anew from the configuration.
    if foreign := sorted(name for name in info["unexpected_keys"] if not name.endswith(("inv_freq", "masked_bias"))):
        raise UserError(
            f"{path}: {_in_files(path, foreign[0])[0]} has {len(foreign)} tensor(s) that {kind} has no place for, the "
            f"first is {foreign[0]}; a foreign checkpoint, or a config.json of another model"
        )


def _in_files(path: str, name: str) -> tuple[str, tuple[int, ...] | str]:
    """The file that holds a tensor, and the shape that it has there, for a message."""
    if Path(path).is_dir():
        for file in weight_files(path):
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118
                    if key == name or key.endswith(f".{name}") or name.endswith(f".{key}"):
                        return file.name, tuple(opened.get_slice(key).get_shape())
    return "the weights", "another one"
