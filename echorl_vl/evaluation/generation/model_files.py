"""Model files: find the folder of a model, and hash its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from echorl_vl.data.files import root_cause
from echorl_vl.errors import UserError

_CHUNK = 16 << 20
_SUFFIXES = (".json", ".safetensors", ".txt", ".jinja", ".model")


def resolve(model: str) -> str:
    """Return the folder of a model, given as a folder or as a hub id. Raises UserError if there is no such model."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return str(folder)
        inner = next((path.parent for path in sorted(folder.glob("**/config.json"))), None)
        hint = f"; there is a model in {inner}" if inner else ""
        raise UserError(f"--model {model}: expected a model, got a folder without config.json{hint}")
    if folder.exists() or folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise UserError(f"--model {model}: expected a folder or a hub id such as Qwen/Qwen2.5-VL-3B-Instruct")
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(model, allow_patterns=[f"*{suffix}" for suffix in _SUFFIXES])
    except Exception as error:  # the client raises many types: no network, no such model, no access
        raise UserError(
            f"--model {model}: no such folder, and no such model on the Hugging Face hub or, without a network, in its "
            f"cache ({root_cause(error)})"
        ) from error


def fingerprint(folder: str) -> str:
    """Return the SHA-256 of the names, sizes and contents of a model's files.

    It reads every byte, which takes about a second per GB (1.2 to 1.5 s on a busy core with SHA instructions).
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
