"""LoRA on tied embeddings or heads: the saved model equals the trained one, and so does a resumed one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.state import ADAPTER, MODEL_FOLDER, restore_state, write_state
from echorl_vl.models.lora import add_lora

TARGETS = ("lm_head", "embed_tokens", "lm_head, embed_tokens", "q_proj, lm_head", "all-linear")


def adapted(kind: str, targets: str, tied: bool = True) -> Policy:
    model = tiny.vl_model(spread=0.1) if kind == "images" else tiny.text_model(spread=0.1)
    if kind == "text" and tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    lora = SimpleNamespace(rank=4, alpha=8, target_modules=targets, exclude_modules=".*visual.*")
    return Policy(add_lora(model, lora), tiny.tokenizer())


def change_adapters(policy: Policy) -> None:
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2, generator=noise)


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=torch.arange(30)[None]).logits


@pytest.mark.parametrize("kind", ["images", "text"])
@pytest.mark.parametrize("targets", TARGETS)
def test_the_saved_model_equals_the_trained_one(tmp_path: Path, kind: str, targets: str) -> None:
    policy = adapted(kind, targets)
    before = logits(policy.network)
    change_adapters(policy)
    trained = logits(policy.network)
    assert float((trained - before).abs().max()) > 0.1
    write_state(tmp_path, policy, None, None, {}, model_only=True)
    assert torch.equal(logits(policy.network), trained)  # saving does not change the policy
    auto = AutoModelForImageTextToText if kind == "images" else AutoModelForCausalLM
    saved = auto.from_pretrained(tmp_path / MODEL_FOLDER)
    assert float((logits(saved) - trained).abs().max()) < 1e-4
    settings = json.loads((tmp_path / MODEL_FOLDER / "config.json").read_text())
    still_tied = settings["tie_word_embeddings"]
    assert (
        still_tied == (targets == "all-linear")
        and settings.get("text_config", settings)["tie_word_embeddings"] == still_tied
    )
    resumed = adapted(kind, targets)
    restore_state(tmp_path, resumed, None, None, model_only=True)
    assert (tmp_path / ADAPTER).is_dir() and torch.equal(logits(resumed.network), trained)


def test_an_untied_head_is_saved_with_its_adapter(tmp_path: Path) -> None:
    policy = adapted("text", "lm_head", tied=False)
    change_adapters(policy)
    write_state(tmp_path, policy, None, None, {}, model_only=True)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / MODEL_FOLDER)
    assert float((logits(saved) - logits(policy.network)).abs().max()) < 1e-4
