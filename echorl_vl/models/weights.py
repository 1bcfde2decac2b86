"""Checks of a model's weights: complete files, finite values, and the tensors that the model expects."""

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
    """Check every safetensors file of a model folder, tensor by tensor.

    Raises:
        UserError: a file is missing or damaged, or a tensor has NaN or infinite values; names file and tensor.
    """
    for path in weight_files(folder):
        try:
            with safe_open(path, "pt") as file:
                check_finite(((name, file.get_tensor(name)) for name in file.keys()), f"{folder}: {path.name}")  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{folder}: can't load the weights: {path.name} is damaged or truncated ({error}); copy or download it "
                "again"
            ) from error


def weight_files(folder: str | Path) -> list[Path]:
    """Return the safetensors files of a model; those of its index if it has one.

    Raises:
        UserError: the index is damaged, or a file of the index is missing.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file() or (folder / "model.safetensors").is_file():
        return sorted(folder.glob("model*.safetensors"))
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{folder}: can't load the weights: {INDEX} can't be read ({error})") from error
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise UserError(f"{folder}: can't load the weights: {missing[0]} (named in {INDEX}) is missing")
    return [folder / name for name in names]


def check_finite(tensors: Iterable[tuple[str, torch.Tensor]], source: str) -> None:
    """Raise UserError if a tensor has a NaN or infinite value; names `source` and the first such tensor."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            least, most = torch.aminmax(tensor.detach())  # both are NaN if any value is; does not copy the tensor
            if not (torch.isfinite(least) and torch.isfinite(most)):
                raise UserError(
                    f"{source}: expected finite weights, got NaN or infinite values in {name}; training diverged, or "
                    "the file is damaged"
                )


def check_keys(model: torch.nn.Module, info: dict[str, Any], path: str) -> None:
    """Check that a checkpoint has exactly the tensors of `model`.

    Args:
        model: the loaded model.
        info: the loading info of transformers' from_pretrained.
        path: model folder or hub id, for the message.

    Raises:
        UserError: a tensor is missing or unexpected, or its shape differs from config.json.
    """
    name_of_class = type(model).__name__
    mismatched = info.get("mismatched_keys", ())  # names in transformers 4, (name, shape, shape) in transformers 5
    for name in sorted(key if isinstance(key, str) else key[0] for key in mismatched):
        file, shape = _in_files(path, name)
        raise UserError(
            f"{path}: expected shape {tuple(model.state_dict()[name].shape)} of {name} from config.json "
            f"({name_of_class}), got {shape} in {file}; weights and config.json belong to different models"
        )
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{path}: the weights lack {len(missing)} tensor(s) of {name_of_class} (first: {missing[0]}); the "
            "checkpoint is incomplete or belongs to another model"
        )
    # Older versions of transformers saved these buffers; newer ones compute them from the configuration.
    if unexpected := sorted(name for name in info["unexpected_keys"] if not name.endswith(("inv_freq", "masked_bias"))):
        raise UserError(
            f"{path}: {_in_files(path, unexpected[0])[0]} has {len(unexpected)} tensor(s) that {name_of_class} does "
            f"not have (first: {unexpected[0]}); the checkpoint or its config.json belongs to another model"
        )


def _in_files(path: str, name: str) -> tuple[str, tuple[int, ...] | str]:
    """Return the file that contains a tensor and the tensor's shape, for a message."""
    if Path(path).is_dir():
        for file in weight_files(path):
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118
                    if key == name or key.endswith(f".{name}") or name.endswith(f".{key}"):
                        return file.name, tuple(opened.get_slice(key).get_shape())
    return "the weights", "another shape"
