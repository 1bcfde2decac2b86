"""verl runs on a CPU. What needs it skips where it is not installed: `make test-verl` makes an environment for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_run import FinishedRun
from verl_process import REPOSITORY, in_background

from echorl_vl.engines.verl.hooks import found_verl, verl_installed
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files

SMALL = [
    "engine=verl",
    "trainer.device=cpu",
    "trainer.n_gpus_per_node=1",
    "trainer.max_steps=2",
    "trainer.val_freq=-1",
    "trainer.val_before_train=false",
    "trainer.save_freq=-1",
    "trainer.logger=[file]",
    "data.rollout_batch_size=4",
    "data.max_prompt_length=160",
    "data.max_response_length=24",
    "worker.rollout.n=4",
    "worker.actor.global_batch_size=2",
    "worker.actor.micro_batch_size_per_device_for_update=4",
    "worker.actor.micro_batch_size_per_device_for_experience=8",
    "echo.include_truncated=true",
    "echo.splitter=window",
    "echo.splitter_kwargs={size: 4}",
]
"""Overrides of configs/geo3k_tiny.yaml for a CPU dry run with a text model that has learned nothing."""

REWARD = """
from zlib import crc32

def compute_score(rows):
    scores = []
    for row in rows:
        code = crc32((row["response"] + row["ground_truth"]).encode())
        right = 1.0 if int(row["ground_truth"]) % 4 == 0 else float(code % 3 != 0)
        form = float(code % 2)
        scores.append({"overall": 0.9 * right + 0.1 * form, "accuracy": right, "format": form})
    return scores
"""
"""Half of the problems are solved whatever is answered, so that every step has groups that all succeed."""


@pytest.fixture(scope="session")
def verl() -> None:
    """Skips, with the reason, where `import verl` does not bring the official verl."""
    if not verl_installed():
        pytest.skip(f"verl is not installed here: found {found_verl()}; see docs/verl.md")


@pytest.fixture(scope="session")
def text_model(tmp_path_factory) -> Path:
    """A Qwen2 of some ten thousand parameters with random weights and a tokenizer of bytes.

    transformers makes a Qwen2Tokenizer of any tokenizer beside a qwen2 config, and that one works on bytes.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("text_model")
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
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text_problems(tmp_path_factory) -> Path:
    """24 problems without pictures."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    rows = [{"problem": f"What is {number} + {number}?", "answer": str(2 * number)} for number in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def reward(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reward") / "reward.py"
    path.write_text(REWARD)
    return path


class Run(FinishedRun):
    """A run of verl in another process."""

    @property
    def training(self) -> list[dict]:
        return [row for row in self.metrics if "actor/pg_loss" in row]

    def rollouts(self, step: int) -> list[dict]:
        return read_rollouts(rollout_files(self.folder)[step])


@pytest.fixture(scope="session")
def overrides(text_model, text_problems, reward) -> list[str]:
    """What a small run sets."""
    return [
        *SMALL,
        f"data.train_files={text_problems}",
        f"data.val_files={text_problems}",
        f"worker.actor.model.model_path={text_model}",
        f"worker.reward.reward_function={reward}:compute_score",
    ]


@pytest.fixture(scope="session")
def dry_run(verl, overrides, tmp_path_factory):
    """`dry_run(*overrides, folder=...)` runs `python -m echorl_vl.train` with verl on the CPU."""

    def start(*more: str, folder: Path | None = None, wait: bool = True):
        folder = folder or tmp_path_factory.mktemp("run") / "run"
        own = [*overrides, f"trainer.save_checkpoint_path={folder}", *more]
        process, log = in_background(
            ["-m", "echorl_vl.train", str(REPOSITORY / "configs/geo3k_tiny.yaml"), *own], folder.with_suffix(".log")
        )
        if not wait:
            return process, folder
        status = process.wait(timeout=420)
        return Run(status, log.read_text(errors="replace"), folder)

    return start
