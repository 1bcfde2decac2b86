"""A processor like Qwen2.5-VL's with a byte vocabulary, images, and a temporary cache folder."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import datasets
import pytest
from PIL import Image
from transformers import AutoProcessor

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL += ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(autouse=True, scope="session")
def temporary_cache(tmp_path_factory):
    """Keep the files of the tests out of the user's cache of data sets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes in byte-level BPE (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


@pytest.fixture(scope="session")
def processor_folder(tmp_path_factory) -> Path:
    """A processor's folder in the format of the released Qwen2.5-VL: one token per byte, patches of 14 merged by 2."""
    folder = tmp_path_factory.mktemp("processor")
    alphabet = byte_alphabet()
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    added = {
        str(len(alphabet) + index): {"content": token, "special": True} | flags for index, token in enumerate(SPECIAL)
    }
    tokenizer = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
    }
    image_processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "vocab.json").write_text(json.dumps({character: index for index, character in enumerate(alphabet)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "preprocessor_config.json").write_text(json.dumps(image_processor))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    return folder


@pytest.fixture(scope="session", params=["fast", "slow"])
def processor(request, processor_folder):
    """Both image processors, with torchvision and with Pillow (transformers 4 and 5 name them differently)."""
    return AutoProcessor.from_pretrained(processor_folder, use_fast=request.param == "fast")


@pytest.fixture(scope="session")
def real_processor(shared_data):
    """Tokenizer, chat template and image processor of the released Qwen2.5-VL."""
    return AutoProcessor.from_pretrained(shared_data / "qwen2_5_vl")


@pytest.fixture(scope="session")
def png():
    """png(width, height, color, mode) -> bytes of a PNG."""

    def make(width: int = 30, height: int = 20, color="red", mode: str = "RGB") -> bytes:
        file = BytesIO()
        Image.new(mode, (width, height), color).save(file, "PNG")
        return file.getvalue()

    return make
