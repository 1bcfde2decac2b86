"""Load the model, tokenizer and processor of a model folder or hub id, with errors that name the missing file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from echorl_vl.errors import UserError, setting
from echorl_vl.models.base import ModelFamily, family_of
from echorl_vl.models.lora import add_lora
from echorl_vl.models.weights import check_finite, check_keys, check_weight_files

_DTYPES = {
    "fp32": torch.float32, "float32": torch.float32, "float": torch.float32,
    "bf16": torch.bfloat16, "bfloat16": torch.bfloat16,
    "fp16": torch.float16, "float16": torch.float16, "half": torch.float16,
}  # fmt: skip


@dataclass(frozen=True)
class ModelInputs:
    """The result of `load_inputs`: transformers config, tokenizer, processor (None for a text model) and family."""

    config: Any
    tokenizer: Any
    processor: Any | None
    family: ModelFamily


@dataclass(frozen=True)
class LoadedModel(ModelInputs):
    """The result of `load`."""

    model: torch.nn.Module


def to_dtype(name: str | torch.dtype | None) -> torch.dtype | None:
    """Convert EasyR1's name of a dtype (fp32, bf16, fp16 or a long form). Raises UserError for other names."""
    if name is None or isinstance(name, torch.dtype):
        return name
    if name.lower() not in _DTYPES:
        raise UserError(f"expected a dtype ({', '.join(_DTYPES)}), got {name!r}")
    return _DTYPES[name.lower()]


def load(model_config, device: torch.device, param_dtype: torch.dtype | None = None) -> LoadedModel:
    """Load a model onto `device`, with sdpa attention and in eval mode.

    Args:
        model_config: `worker.actor.model` of the configuration.
        device: device of the model.
        param_dtype: dtype of the weights. None: float32, or bfloat16 for the frozen weights of LoRA on a GPU.

    Raises:
        UserError: the folder, hub id, tokenizer, processor or weights are missing, damaged or don't match.
    """
    inputs = load_inputs(model_config)
    path, trust = model_config.model_path, bool(getattr(model_config, "trust_remote_code", False))
    lora_rank = getattr(getattr(model_config, "lora", None), "rank", 0)
    if param_dtype is None:
        param_dtype = torch.bfloat16 if lora_rank > 0 and device.type == "cuda" else torch.float32
    model = _load_weights(path, inputs.config, inputs.family.auto_class(), param_dtype, trust)
    tokenizer_path = getattr(model_config, "tokenizer_path", None) or path
    check_vocabulary(model, inputs.tokenizer, inputs.family, tokenizer_path)
    if lora_rank > 0:
        model = add_lora(model, model_config.lora)
    if getattr(model_config, "freeze_vision_tower", False):
        for name, parameter in model.named_parameters():
            if inputs.family.tower in f".{name}":
                parameter.requires_grad_(False)
    return LoadedModel(*vars(inputs).values(), model.to(device).eval())


def load_inputs(model_config) -> ModelInputs:
    """Load what is needed to encode prompts: the model's config, tokenizer and processor, without its weights.

    Raises:
        UserError: the folder, hub id, config, tokenizer or processor is missing, damaged or not supported.
    """
    path = model_config.model_path
    tokenizer_path = getattr(model_config, "tokenizer_path", None) or path
    trust = bool(getattr(model_config, "trust_remote_code", False))
    _check_folder(path, setting("model_path"), ("config.json",))
    _check_folder(tokenizer_path, "tokenizer_path", ("tokenizer.json", "vocab.json", "tokenizer.model", "vocab.txt"))

    config = _attempt("model config", path, AutoConfig.from_pretrained, trust_remote_code=trust)
    override(config, getattr(model_config, "override_config", None) or {})
    tokenizer = _attempt("tokenizer", tokenizer_path, AutoTokenizer.from_pretrained, trust_remote_code=trust)
    processor, family = None, family_of(config, path)
    if family.reads_images:
        _check_folder(tokenizer_path, "tokenizer_path", ("preprocessor_config.json", "processor_config.json"))
        from transformers import AutoProcessor  # imports torchvision, which text models do not need

        processor = _attempt("processor", tokenizer_path, AutoProcessor.from_pretrained, trust_remote_code=trust)
        if getattr(processor, "image_processor", None) is None:
            raise UserError(f"{tokenizer_path}: expected an image processor in preprocessor_config.json, got none")
        tokenizer = processor.tokenizer
    return ModelInputs(config, tokenizer, processor, family)


def override(config, changes: dict) -> None:
    """Set attributes of a transformers config, nested ones by nested dicts. Raises UserError for unknown names."""
    for key, value in dict(changes).items():
        if not hasattr(config, key):
            near = difflib.get_close_matches(key, list(config.to_dict()), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"override_config.{key}: {type(config).__name__} has no such field{hint}")
        if hasattr(value, "items") and hasattr(getattr(config, key), "to_dict"):
            override(getattr(config, key), value)
        else:
            setattr(config, key, value)


def check_vocabulary(model: PreTrainedModel, tokenizer: Any, family: ModelFamily, source: str) -> None:
    """Raise UserError unless all tokens have an embedding and config and tokenizer have the same image token id."""
    rows = model.get_input_embeddings().num_embeddings
    token, top = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if top >= rows:
        raise UserError(
            f"{source}: the tokenizer and the model don't match: token {token!r} has id {top}, but the model has "
            f"embeddings for ids 0 to {rows - 1}"
        )
    if family.image_token is None:
        return
    attribute, token = family.image_token
    image_id, known = getattr(model.config, attribute, None), tokenizer.get_vocab().get(token)
    if image_id is not None and known is not None and image_id != known:
        raise UserError(
            f"{source}: the id of {token} is {known} in the tokenizer, but {attribute} is {image_id} in config.json"
        )


def _load_weights(path: str, config: Any, auto: Any, dtype: torch.dtype, trust: bool) -> PreTrainedModel:
    in_folder = Path(path).is_dir()
    if in_folder:
        check_weight_files(path)
    with _silent_report():  # hide transformers' table of tensors; `check_keys` reports the errors
        model, info = _attempt(
            "weights", path, auto.from_pretrained, config=config, dtype=dtype, attn_implementation="sdpa",
            trust_remote_code=trust, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    check_keys(model, info, path)
    if not in_folder:
        check_finite(model.named_parameters(), path)
    return model


@contextmanager
def _silent_report() -> Iterator[None]:
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _check_folder(path: str | None, key: str, any_of: tuple[str, ...]) -> None:
    """Raise UserError unless `path` is a folder with one of the files `any_of`, or may be a hub id."""
    if not path:
        raise UserError(
            f"model.{key} is not set: expected a model folder or a hub id such as Qwen/Qwen2.5-VL-3B-Instruct"
        )
    folder = Path(path)
    if folder.is_dir():
        if not any((folder / name).is_file() for name in any_of):
            raise UserError(f"{path}: the model folder ({key}) has no {' or '.join(any_of)}")
    elif folder.exists() or folder.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
        raise UserError(f"{key}: expected a folder or a hub id such as Qwen/Qwen2.5-VL-3B-Instruct, got {path!r}")


def _attempt(what: str, path: str, loader, **options):
    """Call a from_pretrained and convert its errors to UserError."""
    try:
        return loader(path, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors raise different errors for invalid files
        reason = str(error).strip().splitlines() or [type(error).__name__]
        where = "" if Path(path).is_dir() else " from the hub or its cache, and there is no such folder"
        raise UserError(f"{path}: can't load the {what}{where}: {' '.join(reason[:2])}") from error
