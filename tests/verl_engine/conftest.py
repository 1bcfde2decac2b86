"""Tests of verl on a CPU. Those that need verl are skipped if it is not installed; see `make test-verl`."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray_runs import SMALL, dry_runs, save_text_model, write_sums

from echorl_vl.engines.verl.hooks import HOST

OWN = [
    "engine=verl",
    "data.max_prompt_length=160",
    "data.max_response_length=24",
    "worker.actor.global_batch_size=2",
    "worker.actor.micro_batch_size_per_device_for_update=4",
    "echo.include_truncated=true",
    "echo.splitter=window",
    "echo.splitter_kwargs={size: 4}",
]
"""Overrides for an untrained text model."""

REWARD = """
from zlib import crc32

def compute_score(rows):
    scores = []
    for row in rows:
        code = crc32((row["response"] + row["ground_truth"]).encode())
        correct = 1.0 if int(row["ground_truth"]) % 4 == 0 else float(code % 3 != 0)
        form = float(code % 2)
        scores.append({"overall": 0.9 * correct + 0.1 * form, "accuracy": correct, "format": form})
    return scores
"""
"""Half of the problems are solved by any answer, so that every step has groups that all succeed."""


@pytest.fixture(scope="session")
def verl() -> None:
    """Skips with a reason unless `import verl` imports the official verl."""
    if not HOST.is_installed():
        pytest.skip(f"verl is not installed here: found {HOST.found()}; see docs/verl.md")


@pytest.fixture(scope="session")
def text_model(tmp_path_factory) -> Path:
    """A small Qwen2 with a tokenizer of bytes.

    transformers loads any tokenizer next to a qwen2 config as a Qwen2Tokenizer, which works on bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bytewise = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return save_text_model(tmp_path_factory.mktemp("text_model"), tokenizer, longest=512)


@pytest.fixture(scope="session")
def text_problems(tmp_path_factory) -> Path:
    """24 problems without images."""
    return write_sums(tmp_path_factory.mktemp("text") / "text.jsonl", 24)


@pytest.fixture(scope="session")
def reward(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reward") / "reward.py"
    path.write_text(REWARD)
    return path


@pytest.fixture(scope="session")
def overrides(text_model, text_problems, reward) -> list[str]:
    """Overrides of a small run."""
    return [
        *SMALL,
        *OWN,
        f"data.train_files={text_problems}",
        f"data.val_files={text_problems}",
        f"worker.actor.model.model_path={text_model}",
        f"worker.reward.reward_function={reward}:compute_score",
    ]


@pytest.fixture(scope="session")
def dry_run(verl, overrides, tmp_path_factory):
    """See `dry_runs`."""
    return dry_runs(lambda: tmp_path_factory.mktemp("run"), *overrides)
