"""A damaged model folder, or one with files of two models, is refused with the names of folder, file and tensor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file

from echorl_vl.engines.local.architecture import check_architecture
from echorl_vl.engines.local.policy import Policy
from echorl_vl.errors import UserError
from echorl_vl.models.weights import check_weight_files

UP = "model.layers.1.mlp.up_proj.weight"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    tiny.text_model(spread=0.1).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, good: Path) -> Path:
    """A copy of the valid folder, to damage."""
    return shutil.copytree(good, tmp_path / "model")


def load(folder: Path) -> Policy:
    return Policy.load(SimpleNamespace(model_path=str(folder)), device="cpu")


def tensors(folder: Path, change) -> None:
    held = load_file(folder / WEIGHTS)
    change(held)
    save_file(held, folder / WEIGHTS, metadata={"format": "pt"})


def settings(folder: Path, **changes) -> None:
    held = json.loads((folder / "config.json").read_text())
    held.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(held | changes))


def poison(value: float):
    return lambda folder: tensors(folder, lambda held: held[UP].view(-1)[5:6].fill_(value))


CASES = {
    "nan": (poison(float("nan")), f"{WEIGHTS}: expected finite weights, got NaN or infinite values in {UP}"),
    "infinite": (poison(float("-inf")), f"{WEIGHTS}: expected finite weights, got NaN or infinite values in {UP}"),
    "shape": (
        lambda folder: tensors(folder, lambda held: held.update({UP: torch.zeros(40, 32)})),
        f"expected shape (48, 32) of {UP} from config.json (Qwen2ForCausalLM), got (40, 32) in {WEIGHTS}",
    ),
    "missing": (
        lambda folder: tensors(folder, lambda held: held.pop(UP)),
        f"lack 1 tensor(s) of Qwen2ForCausalLM (first: {UP})",
    ),
    "unexpected": (
        lambda folder: tensors(folder, lambda held: held.update({"model.layers.7.a": torch.zeros(3)})),
        f"{WEIGHTS} has 1 tensor(s) that Qwen2ForCausalLM does not have (first: model.layers.7.a)",
    ),
    "fewer layers": (
        lambda folder: settings(folder, num_hidden_layers=1),
        "has 12 tensor(s) that Qwen2ForCausalLM does not have",
    ),
    "wider": (lambda folder: settings(folder, hidden_size=64), "expected shape (264, 64) of "),
    "no number": (lambda folder: settings(folder, num_hidden_layers="two"), "num_hidden_layers"),
    "cut off": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
        f"can't load the weights: {WEIGHTS} is damaged or truncated",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_names_folder_and_tensor(folder: Path, case: str) -> None:
    damage, message = CASES[case]
    damage(folder)
    with pytest.raises(UserError) as error:
        load(folder)
    assert message in str(error.value) and str(folder) in str(error.value), str(error.value)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    tiny.text_model(spread=0.1).save_pretrained(folder, max_shard_size="20KB")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    check_weight_files(folder)
    load(folder)
    shard.unlink()
    with pytest.raises(UserError, match=rf"{shard.name} \(named in model.safetensors.index.json\) is missing"):
        load(folder)


def test_logits_that_are_not_finite_are_refused() -> None:
    policy = tiny.text_policy()
    with torch.no_grad():
        policy.head.weight[3] = 3e38
        policy.network.model.norm.weight.fill_(3e38)
    with pytest.raises(UserError, match="the logits of Qwen2ForCausalLM are not finite"):
        check_architecture(policy)
