"""A model that does not fit into memory is refused before it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_models as tiny
from transformers import Qwen2Config

from echorl_vl import train
from echorl_vl.config import Config
from echorl_vl.engines import resources
from echorl_vl.engines.local import memory
from echorl_vl.engines.local.memory import GIB, check_memory, free_memory
from echorl_vl.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder with the configuration of Qwen2.5-7B and no weights."""
    Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(tmp_path / "large")
    tiny.tokenizer().save_pretrained(tmp_path / "large")
    return tmp_path / "large"


def settings(path: Path, **changes) -> Config:
    made = Config()
    made.worker.actor.model.model_path = str(path)
    made.algorithm.disable_kl = True
    for key, value in changes.items():
        owner = made
        *parts, name = key.split("__")
        for part in parts:
            owner = getattr(owner, part)
        setattr(owner, name, value)
    return made


def test_the_error_says_how_much_is_needed_and_what_helps(large: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 30 * GIB)
    config = str(REPOSITORY / "configs/math_tiny.yaml")
    own = [f"worker.actor.model.model_path={large}", f"trainer.save_checkpoint_path={tmp_path / 'run'}"]
    assert train.main([config, *own, "trainer.device=cpu", "trainer.logger=[console, file]"]) == 2
    error = capsys.readouterr().err
    assert "has 7.62 billion parameters" in error and "113.5 GiB before any activation" in error, error
    for part in ("has 30.0 GiB free", "lora.rank=64", "a GPU", "a smaller model"):
        assert part in error


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, 113.5),
        ({"algorithm__disable_kl": False}, 141.9),
        ({"worker__actor__model__lora__rank": 8}, 28.4),
        ({"trainer__val_only": True}, 28.4),
    ],
)
def test_weights_gradients_optimizer_and_reference_are_counted(
    large: Path, monkeypatch, changes: dict, needed: float
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: int((needed + 0.1) * GIB))
    check_memory(settings(large, **changes), "cpu")
    monkeypatch.setattr(memory, "free_memory", lambda: int((needed - 0.1) * GIB))
    with pytest.raises(UserError, match=f"{needed} GiB before any activation"):
        check_memory(settings(large, **changes), "cpu")


def test_a_frozen_tower_has_no_optimizer_state(tmp_path: Path, monkeypatch) -> None:
    tiny.vl_model(depth=2).save_pretrained(tmp_path)
    monkeypatch.setattr(memory, "free_memory", lambda: 1)
    with pytest.raises(UserError, match="a frozen tower less"):
        check_memory(settings(tmp_path, worker__actor__model__freeze_vision_tower=True), "cpu")


def test_a_tiny_model_is_not_built_for_the_check(monkeypatch) -> None:
    monkeypatch.setattr(resources, "empty_model", lambda model: pytest.fail("built"))
    check_memory(settings(REPOSITORY / "echorl_vl/tiny/model"), "cpu")
    assert free_memory() > 0


def test_the_check_ignores_a_folder_without_a_model(tmp_path: Path) -> None:
    check_memory(settings(tmp_path), "cpu")
    shutil.rmtree(tmp_path)
    check_memory(settings(tmp_path), "cpu")
