"""Which model: a folder or a hub id to a folder, and a fingerprint of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from echorl_vl.data.files import root_cause
from echorl_vl.errors import UserError

_CHUNK = 16 << 20
_SUFFIXES = (".json", ".safetensors", ".txt", ".jinja", ".model")


def resolve(model: str) -> str:
    """The folder of a model: `model` itself, or what the hub has under that id. Raises UserError without one."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return str(folder)
        inner = next((path.parent for path in sorted(folder.glob("**/config.json"))), None)
        hint = f"; there is a model in {inner}" if inner else ""
        raise UserError(f"--model {model}: the folder has no config.json, so it is no model{hint}")
    if folder.exists() or folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise UserError(f"--model {model}: no such folder, nor a hub id such as Qwen/Qwen2.5-VL-3B-Instruct")
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(model, allow_patterns=[f"*{suffix}" for suffix in _SUFFIXES])
    except Exception as error:  # no network, no such model, no access: the hub's client has one each
        raise UserError(
            f"--model {model}: no such folder is here, and the Hugging Face hub (or its cache, without a network) did "
            f"not give a model of this name ({root_cause(error)})"
        ) from error


def fingerprint(folder: str) -> str:
    """SHA-256 over the names, sizes and contents of a model's files: two folders with the same one are the same model.

    Every byte is read: about a second for each GB, the disk allowing (1.2 to 1.5 s on a busy core with SHA
    instructions).
    """
    digest = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if not path.is_file() or path.suffix not in _SUFFIXES:
            continue
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
