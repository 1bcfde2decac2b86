"""Checks before a run of EasyR1. Most of these tests don't need EasyR1."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from echorl_vl.config import ENGINES, load_config
from echorl_vl.config.issues import raise_if_any
from echorl_vl.data.sources import load_problems
from echorl_vl.engines.easyr1.datasets import check_has_images, load_sets
from echorl_vl.engines.easyr1.engine import SMALLER
from echorl_vl.engines.easyr1.hooks import HOST
from echorl_vl.engines.ray import host
from echorl_vl.engines.ray.resources import cluster_issue, gpu_issues, memory_issues, model_issues
from echorl_vl.engines.resources import GIB, Machine, count_parameters
from echorl_vl.engines.start import choose_engine
from echorl_vl.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "echorl_vl/tiny/model"


def config(*overrides: str, recipe: str = "geo3k"):
    return load_config(REPOSITORY / f"configs/{recipe}.yaml", overrides)


def own_issues(settings) -> list:
    return list(ENGINES["easyr1"].model_issues(settings))


def messages(problems) -> str:
    return "\n".join(problem.message for problem in problems)


def machine(gpus: int, gib: float = 80, memory_gib: float = 1000) -> Machine:
    return Machine((int(gib * GIB),) * gpus, int(memory_gib * GIB))


# --- machine ---


def test_missing_gpu_is_reported_with_alternatives():
    found = messages(gpu_issues(config(), machine(0), "easyr1"))
    assert "torch finds none" in found and "engine=local" in found and "trainer.device=cpu" in found


def test_too_few_gpus_are_reported():
    assert "trainer.n_gpus_per_node = 8" in messages(gpu_issues(config(), machine(4), "easyr1"))
    assert list(gpu_issues(config(), machine(8), "easyr1")) == []
    assert list(gpu_issues(config("trainer.device=cpu"), machine(0), "easyr1")) == []


def test_too_small_cluster_is_reported_with_how_to_start_ray():
    two_nodes = config("trainer.nnodes=2")
    assert "expected 16 GPUs" in cluster_issue(two_nodes, {"GPU": 8.0}) and "ray start --address" in cluster_issue(
        two_nodes, {}
    )
    assert cluster_issue(two_nodes, {"GPU": 16.0}) is None


@pytest.mark.parametrize(
    ("overrides", "gpus", "billions", "message"),
    [
        ((), 8, 8.3, ""),  # 16 bytes x 8.3e9 / 8 = 15 GiB each
        (("trainer.n_gpus_per_node=1",), 1, 8.3, "124 GiB on each of 1 GPUs of 80 GiB"),
        (("trainer.n_gpus_per_node=1", "worker.actor.model.lora.rank=64"), 1, 8.3, ""),
        (("trainer.n_gpus_per_node=1", "worker.actor.optim.strategy=adamw_bf16", "worker.actor.fsdp.torch_dtype=bf16"),
         1, 8.3, ""),
        ((), 8, 33.0, "vLLM's copy takes 61 GiB"),
        (("worker.rollout.tensor_parallel_size=2",), 8, 33.0, ""),
    ],
)  # fmt: skip
def test_model_that_is_too_large_is_refused(overrides, gpus, billions, message):
    found = messages(memory_issues(config(*overrides), machine(gpus), SMALLER, int(billions * 1e9)))
    assert message in found if message else found == ""


def test_model_that_is_too_large_for_a_cpu_dry_run_is_refused():
    found = messages(memory_issues(config("trainer.device=cpu"), machine(0, memory_gib=24), SMALLER, int(8.3e9)))
    assert "a CPU dry run needs" in found and "echorl_vl/tiny/model" in found


# --- model and data ---


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("preprocessor_config.json", "has no processor, which images need"),
        ("config.json", "config.json can't be read"),
        ("model.safetensors", "has no weights"),
    ],
)
def test_incomplete_model_folder_is_refused(tmp_path, missing, message):
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    assert list(model_issues(config(f"worker.actor.model.model_path={folder}"))) == []
    (folder / missing).unlink()
    found = messages(model_issues(config(f"worker.actor.model.model_path={folder}")))
    assert message in found and str(folder) in found


@pytest.mark.parametrize(("tied", "targets", "refused"), [(True, "q_proj, lm_head", True), (True, "embed_tokens", True),
    (True, "all-linear", False), (False, "lm_head", False)])  # fmt: skip
def test_adapter_on_one_of_two_tied_weights_is_refused(tmp_path, tied, targets, refused):
    folder = shutil.copytree(TINY, tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": tied}))
    lora = (f"worker.actor.model.lora.target_modules='{targets}'", "worker.actor.model.lora.rank=8")
    found = messages(model_issues(config(f"worker.actor.model.model_path={folder}", *lora)))
    assert ("share one weight" in found) == refused and (refused or not found)


def test_models_that_can_not_be_a_critic_are_refused(text_model):
    critic = ("algorithm.adv_estimator=gae", f"worker.critic.model.model_path={TINY}",
              f"worker.actor.model.model_path={TINY}", "worker.rollout.n=8",
              "worker.critic.global_batch_size=64", "algorithm.norm_adv_by_std_in_grpo=true")  # fmt: skip
    assert "a vision model can't be a critic" in messages(own_issues(config(*critic)))
    assert own_issues(config(f"worker.actor.model.model_path={TINY}")) == []
    text = (*critic, f"worker.critic.model.model_path={text_model}")
    assert "expected {num_labels: 1}" in messages(own_issues(config(*text)))
    assert list(own_issues(config(*text, "worker.critic.model.override_config={num_labels: 1}"))) == []


def test_model_without_a_readable_config_is_refused(monkeypatch):
    import transformers

    def no_network(*_, **__):
        raise OSError("We couldn't connect")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", no_network)
    with pytest.raises(UserError, match=r"nobody/nothing: the config\.json of this model can't be read"):
        count_parameters(config("worker.actor.model.model_path=nobody/nothing").worker.actor.model)


def test_parameters_are_counted_without_weights():
    assert count_parameters(config(f"worker.actor.model.model_path={TINY}").worker.actor.model) == 1_807_232


def test_set_without_images_is_refused_for_a_vision_model(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n")
    settings = config(f"worker.actor.model.model_path={TINY}", f"data.train_files={path}")
    problems = load_problems(str(path))
    with pytest.raises(UserError, match=r"none of 1 problems has an image in the column 'images'") as caught:
        check_has_images(settings, problems)
    assert "Set data.image_key to the column of images, or to ''" in str(caught.value)
    check_has_images(config(f"worker.actor.model.model_path={TINY}", "data.image_key=''"), problems)


def test_training_set_smaller_than_a_batch_is_refused(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n")
    with pytest.raises(UserError, match="1 problem; expected at least one batch, which is 128"):
        load_sets(config(f"data.train_files={path}", f"data.val_files={path}"))


def test_videos_are_left_to_easyr1(tmp_path):
    path = tmp_path / "videos.jsonl"
    path.write_text(json.dumps({"problem": "<video>What?", "answer": "2", "videos": ["a.mp4"]}) + "\n")
    settings = config(f"data.train_files={path}", f"data.val_files={path}", f"worker.actor.model.model_path={TINY}")
    settings.data.rollout_batch_size = 1
    check_has_images(settings, load_sets(settings)["train_files"])


def of_type(folder: Path, model_type: str) -> str:
    """Override: the tiny model with another `model_type`."""
    folder = shutil.copytree(TINY, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": model_type}))
    return f"worker.actor.model.model_path={folder}"


def test_easyr1_refuses_a_model_that_it_can_not_pack(tmp_path):
    model = of_type(tmp_path / "model", "glm4v")
    found = messages(own_issues(config(model)))
    assert "EasyR1 can't pack a 'glm4v' model" in found and "qwen3_vl" in found and str(tmp_path) in found
    assert own_issues(config(model, "worker.actor.padding_free=false")) == []


def test_cpu_dry_run_refuses_images_of_an_unknown_model_family(tmp_path):
    model = of_type(tmp_path / "model", "qwen3_vl_moe")
    assert own_issues(config(model)) == []
    found = messages(own_issues(config(model, "trainer.device=cpu")))
    assert "has no model family for 'qwen3_vl_moe'" in found and str(tmp_path) in found


def test_ulysses_needs_a_text_model_with_divisible_heads(text_model):
    ulysses = "worker.actor.ulysses_size=8"
    vision = config(ulysses, f"worker.actor.model.model_path={TINY}")
    assert "expected 1 for a vision model" in messages(own_issues(vision))
    text = config(ulysses, f"worker.actor.model.model_path={text_model}")
    assert "expected a divisor of the 4 attention heads" in messages(own_issues(text))
    assert own_issues(config(f"worker.actor.model.model_path={TINY}")) == []


def test_missing_reward_function_is_found_at_start():
    with pytest.raises(UserError, match="no function 'nope'"):
        ENGINES["easyr1"].run(
            config("engine=easyr1", "worker.reward.reward_function=echorl_vl/rewards/geometry.py:nope")
        )


def test_missing_logger_is_found_at_start():
    if find_spec("mlflow"):
        pytest.skip("mlflow is installed here")
    with pytest.raises(UserError, match="asks for mlflow, which is not installed"):
        ENGINES["easyr1"].run(config("engine=easyr1", "trainer.logger=[mlflow]"))


# --- the choice of the engine ---


def chosen(config) -> tuple[str, str]:
    engine, reason = choose_engine(config)
    return engine.name, reason


def test_auto_names_the_engine_and_the_reason(monkeypatch):
    import torch

    settings = config()
    monkeypatch.setattr(host, "_verl_folder", lambda: None)
    assert chosen(settings) == (
        "local",
        "engine = auto, and EasyR1 is not installed: found no package verl",
    )
    monkeypatch.setattr(host.Host, "is_installed", lambda self: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen(settings) == (
        "local",
        "engine = auto, and torch finds no GPU",
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen(settings) == ("easyr1", "engine = auto, and EasyR1 is installed and torch finds a GPU")
    assert chosen(config("trainer.device=cpu"))[0] == "local"
    assert chosen(config("engine=easyr1", "trainer.device=cpu"))[0] == "easyr1"


def test_all_issues_of_a_machine_are_reported_at_once():
    problems = [*HOST.version_issues(False, {}.get), *gpu_issues(config(), machine(0), "easyr1")]
    with pytest.raises(UserError, match="12 problems"):
        raise_if_any(problems)
