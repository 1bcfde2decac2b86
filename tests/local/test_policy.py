"""The forward pass of the update equals that of transformers; loading, LoRA, and invalid models."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM, Qwen2VLConfig

import echorl_vl.engines.local.policy as policy_module
from echorl_vl.config import Config
from echorl_vl.engines.local.architecture import check_architecture, check_window
from echorl_vl.engines.local.attention import SHARED_PREFIX
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.errors import UserError

TEMPERATURE = 0.8


def batch_of(policy, prompts, n=3, max_tokens=10):
    """Rollouts of different lengths, down to a single token."""
    params = SamplingParams(n=n, temperature=TEMPERATURE, max_tokens=max_tokens, ignore_eos=True)
    batch = generate(policy, prompts, params, torch.Generator().manual_seed(0))
    lengths = 1 + torch.arange(len(batch.tokens)) * 7 % max_tokens
    batch.response_mask = torch.arange(max_tokens) < lengths[:, None]
    return batch


def weights_of(batch):
    noise = torch.Generator().manual_seed(1)
    return [torch.randn(batch.tokens.shape, generator=noise) for _ in range(2)]


def gradients(policy, loss) -> dict[str, torch.Tensor]:
    named = [(name, p) for name, p in policy.model.named_parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    return {name: g for (name, _), g in zip(named, grads, strict=True) if g is not None}


def naive(policy, batch):
    """Values and gradients from one forward pass of transformers per row."""
    values, loss, weights = [], 0.0, weights_of(batch)
    for row, mask in enumerate(batch.response_mask):
        own = tiny.naive_forward(policy, batch.prompts[int(batch.group_ids[row])], batch.tokens[row, mask], TEMPERATURE)
        values.append(own)
        loss = loss + sum((w[row, mask] * v).sum() for w, v in zip(weights, own, strict=True))
    padded = [
        torch.zeros(batch.tokens.shape).masked_scatter(batch.response_mask, torch.cat(v))
        for v in zip(*values, strict=True)
    ]
    return [v.detach() for v in padded], gradients(policy, loss)


def ours(policy, batch, packed, splits):
    """Values and gradients of our forward pass, summed over micro-batches of these rows."""
    values = [torch.zeros(batch.tokens.shape) for _ in range(2)]
    loss, weights = 0.0, weights_of(batch)
    for rows in splits:
        result = policy.response_log_probs(batch, rows, TEMPERATURE, with_grad_entropy=True, packed=packed)
        for value, part, weight in zip(values, result, weights, strict=True):
            value[rows] = part.detach()
            loss = loss + (part * weight[rows]).sum()
    return values, gradients(policy, loss)


def assert_close(got, expected):
    for value, other in zip(got[0], expected[0], strict=True):
        assert torch.allclose(value, other, atol=1e-5), float((value - other).abs().max())
    assert got[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = max(1.0, float(gradient.abs().max()))
        assert torch.allclose(got[1][name], gradient, atol=1e-5 * scale), (
            name,
            float((got[1][name] - gradient).abs().max()),
        )


SPLITS = {
    "whole": [list(range(12))],
    "by group": [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]],
    "shuffled": [[11, 0, 5, 3, 6], [1, 10], [2, 4, 7, 8, 9]],
    "single": [[i] for i in range(12)],
}


@pytest.fixture(scope="module")
def calm():
    """Small weights, which give gradients of moderate size: 1e-5 is then a strict tolerance in float32."""
    return tiny.vl_policy(spread=0.1)


@pytest.fixture(scope="module")
def vl_case(calm, mixed_prompts):
    batch = batch_of(calm, mixed_prompts)
    return batch, naive(calm, batch)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("split", SPLITS)
def test_values_and_gradients_equal_those_of_transformers_for_any_split(calm, vl_case, packed, split):
    batch, expected = vl_case
    assert any("visual" in name for name in expected[1])
    assert_close(ours(calm, batch, packed, SPLITS[split]), expected)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_values_and_gradients_of_text_models_equal_those_of_transformers(kind, packed, text_prompts):
    policy = tiny.text_policy(kind, spread=0.1)
    batch = batch_of(policy, text_prompts, n=4)
    assert_close(ours(policy, batch, packed, [[0, 5, 2, 7], [1, 3, 4, 6, 8, 9, 10, 11]]), naive(policy, batch))


def test_splitting_the_head_and_checkpointing_change_nothing(calm, vl_case, monkeypatch):
    batch, expected = vl_case
    monkeypatch.setattr(policy_module, "HEAD_ELEMENTS", calm.vocab_size * 7)
    assert_close(ours(calm, batch, True, SPLITS["whole"]), expected)
    policy = tiny.vl_policy(spread=0.1)
    policy.network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.gradient_checkpointing = True
    again = []
    policy.decoder.layers[0].mlp.register_forward_pre_hook(lambda *_: again.append(1))
    for packed in (True, False):
        again.clear()
        assert_close(ours(policy, batch, packed, SPLITS["whole"]), expected)
        assert len(again) == 2  # once forward, once backward
    assert not any(m.training for m in policy.model.modules())


def test_masked_tokens_within_a_response_are_attended_to_and_not_scored(calm, vl_case):
    """As tool output in a trajectory needs it."""
    batch, (expected, _) = vl_case
    holed = copy.copy(batch)
    holed.response_mask = batch.response_mask.clone()
    holed.response_mask[:, 2] = False
    got = calm.response_log_probs(holed, slice(None), TEMPERATURE)
    for value, other in zip(got, expected, strict=True):
        assert torch.allclose(value, other * holed.response_mask, atol=1e-5)


def test_entropy_has_a_gradient_on_request_only(calm, vl_case):
    batch, _ = vl_case
    assert not calm.response_log_probs(batch, [0], 1.0)[1].requires_grad
    assert calm.response_log_probs(batch, [0], 1.0, with_grad_entropy=True)[1].requires_grad


def test_a_micro_batch_takes_one_forward_pass_and_encodes_each_image_once(mixed_prompts):
    policy = tiny.vl_policy()
    again = copy.copy(mixed_prompts[0])  # the same image in another problem
    batch = batch_of(policy, [*mixed_prompts, again], n=4)
    before = policy.vision_images
    tokens = []
    policy.decoder.register_forward_pre_hook(
        lambda m, args, kwargs: tokens.append(kwargs["inputs_embeds"].shape), with_kwargs=True
    )
    policy.response_log_probs(batch, slice(None), 1.0)
    assert (policy.forward_calls, policy.vision_images - before) == (1, 4)
    prompt_tokens = sum(len(p.input_ids) for p in batch.prompts)
    assert tokens[0][:2] == (1, prompt_tokens + int(batch.response_mask.sum()) - len(batch.tokens))
    policy.response_log_probs(batch, [0, 1, 17], 1.0, packed=False)
    assert (policy.forward_calls, policy.vision_images - before) == (2, 5)


def test_log_probs_equal_those_of_the_rollout(vl, mixed_prompts):
    params = SamplingParams(n=3, temperature=1.3, top_p=0.9, max_tokens=20)
    batch = generate(vl, mixed_prompts, params, torch.Generator().manual_seed(5))
    with torch.no_grad():
        log_probs, entropy = vl.response_log_probs(batch, range(12), 1.3)
    assert torch.allclose(log_probs, batch.log_probs, atol=1e-4)
    assert torch.allclose(entropy, batch.entropy, atol=1e-4)


def test_transformers_generate_still_works(vl, mixed_prompts):
    """Without a layout, our attention function is plain sdpa."""
    item = mixed_prompts[2]
    out = vl.model.generate(
        input_ids=item.input_ids[None], max_new_tokens=5, do_sample=False, suppress_tokens=vl.visual.ids
    )
    greedy = generate(vl, [item], SamplingParams(temperature=0.0, max_tokens=5), torch.Generator())
    assert torch.equal(out[0, len(item.input_ids) :], greedy.tokens[0])


# --- loading ---


@dataclass
class ModelConfig:
    """The fields of EasyR1's model configuration."""

    model_path: str
    tokenizer_path: str | None = None
    override_config: dict = field(default_factory=dict)
    enable_gradient_checkpointing: bool = False
    trust_remote_code: bool = False
    freeze_vision_tower: bool = False
    lora: object = field(default_factory=lambda: SimpleNamespace(rank=0))


@pytest.fixture(scope="module")
def vl_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vl")
    tiny.vl_model(spread=0.1).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    processor = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}
    sizes = {"min_pixels": 3136, "max_pixels": 100352, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | sizes))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"processor_class": "Qwen2_5_VLProcessor"}))
    return folder


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    tiny.text_model(spread=0.1).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def broken(tmp_path, vl_folder):
    """A copy of the valid folder, to damage."""
    return shutil.copytree(vl_folder, tmp_path / "broken")


def load(folder, **options) -> Policy:
    return Policy.load(ModelConfig(str(folder), **options), device="cpu")


def test_a_vision_model_is_loaded_with_its_processor(vl_folder, vl_case, calm):
    policy = load(vl_folder, enable_gradient_checkpointing=True)
    assert policy.processor.image_processor is not None and policy.family.reads_images and policy.gradient_checkpointing
    assert policy.eos_ids == (tiny.token_id("<|im_end|>"),) and policy.pad_id == tiny.token_id("<|endoftext|>")
    assert set(policy.special_ids.tolist()) == {tiny.token_id(t) for t in tiny.SPECIAL}
    assert next(policy.model.parameters()).dtype == torch.float32
    with torch.no_grad():
        got = policy.response_log_probs(vl_case[0], slice(None), TEMPERATURE)[0]
    assert torch.allclose(got, vl_case[1][0][0], atol=1e-5)


def test_a_saved_model_does_not_name_our_attention(text_folder, tmp_path):
    policy = load(text_folder)
    assert policy.processor is None and not policy.family.reads_images
    policy.model.save_pretrained(tmp_path)
    assert SHARED_PREFIX not in (tmp_path / "config.json").read_text()
    AutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_frozen_vision_tower_gets_no_gradient(vl_folder, vl_case):
    policy = load(vl_folder, freeze_vision_tower=True)
    _, grads = ours(policy, vl_case[0], True, [[0, 1, 2]])
    assert grads and not any("visual" in name for name in grads)


@pytest.mark.parametrize("targets", ["all-linear", "q_proj, v_proj"])
def test_lora_starts_as_the_base_model_and_trains_its_own_weights_only(vl_folder, vl_case, targets):
    lora = SimpleNamespace(rank=4, alpha=8, target_modules=targets, exclude_modules=".*visual.*")
    policy = load(vl_folder, lora=lora, enable_gradient_checkpointing=True)
    batch, (expected, _) = vl_case
    (log_probs, _), grads = ours(policy, batch, True, SPLITS["by group"])
    assert torch.allclose(log_probs, expected[0], atol=1e-5)
    assert grads and all("lora_" in name and "visual" not in name for name in grads)
    assert any("gate_proj" in name for name in grads) == (targets == "all-linear")
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    changed = generate(policy, batch.prompts, SamplingParams(n=2, max_tokens=6, ignore_eos=True), torch.Generator())
    with torch.no_grad():
        for packed in (True, False):
            again = policy.response_log_probs(changed, slice(None), 1.0, packed=packed)[0]
            assert torch.allclose(again, changed.log_probs, atol=1e-4)
    (new, _), _ = ours(policy, batch, True, SPLITS["by group"])
    assert not torch.allclose(new, expected[0], atol=1e-2)


def test_override_config_is_applied_and_checked(text_folder):
    assert load(text_folder, override_config={"rms_norm_eps": 0.5}).config.rms_norm_eps == 0.5
    with pytest.raises(UserError, match=r"override_config\.rms_norm_epps: .*'rms_norm_eps'"):
        load(text_folder, override_config={"rms_norm_epps": 0.5})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "model_path is not set"),
        ("/no/such/folder", "expected a folder or a hub id .*, got '/no/such/folder'"),
        ("models/tiny/best", "expected a folder or a hub id .*, got 'models/tiny/best'"),
        ("no-such-owner-0/no-such-model-0", "can't load the model config"),
    ],
)
def test_unknown_models_are_refused(path, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=message):
        Policy.load(ModelConfig(path), device="cpu")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["config.json"], "no config.json"),
        (["preprocessor_config.json"], "no preprocessor_config.json or processor_config.json"),
        (["tokenizer.json"], "no tokenizer.json or vocab.json"),
        (["model.safetensors"], "can't load the weights"),
    ],
)
def test_incomplete_folders_name_the_missing_file(broken, files, message):
    for name in files:
        (broken / name).unlink()
    with pytest.raises(UserError, match=message) as caught:
        load(broken)
    assert str(broken) in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "preprocessor_config.json"])
def test_damaged_files_are_refused(broken, name):
    content = (broken / name).read_bytes()
    (broken / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="can't load the"):
        load(broken)


def test_weights_of_another_model_are_refused(broken, tmp_path):
    config = json.loads((broken / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    config["text_config"].pop("layer_types", None)
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"lack 12 tensor.*layers\.2"):
        load(broken)


def test_a_tokenizer_of_another_model_is_refused(broken, text_folder):
    settings = json.loads((broken / "tokenizer.json").read_text())
    settings["added_tokens"].append(settings["added_tokens"][0] | {"id": 5000, "content": "<|extra|>", "special": True})
    for i in range(264, 280):
        settings["added_tokens"].insert(-1, settings["added_tokens"][0] | {"id": i, "content": f"<|more {i}|>"})
    settings["added_tokens"][-1]["id"] = 280
    (broken / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"id 280, but the model has embeddings for ids 0 to 271"):
        load(broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"image_token_id": 3}))
    (broken / "tokenizer.json").write_text((text_folder / "tokenizer.json").read_text())
    with pytest.raises(UserError, match=r"the id of <\|image_pad\|> is .* image_token_id is 3 in config.json"):
        load(broken)


def test_unsupported_architectures_are_refused(tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = MistralConfig(vocab_size=264, num_key_value_heads=2, sliding_window=3, **sizes)
    policy = Policy(MistralForCausalLM(config), tiny.tokenizer())
    with pytest.raises(UserError, match="attends to the last 3 only"):
        check_architecture(policy)
    wide = MistralConfig(vocab_size=264, num_key_value_heads=2, sliding_window=11, **sizes)
    check_architecture(Policy(MistralForCausalLM(wide), tiny.tokenizer()))
    settings = Config()
    settings.data.max_prompt_length, settings.data.max_response_length = 6, 5
    check_window(Policy(MistralForCausalLM(wide), tiny.tokenizer()), settings)
    settings.data.max_response_length = 6
    with pytest.raises(UserError, match="= 12 tokens: MistralForCausalLM attends to the last 11 tokens only"):
        check_window(Policy(MistralForCausalLM(wide), tiny.tokenizer()), settings)
    check_window(tiny.text_policy(), settings)
    scaled = tiny.text_policy()
    original = scaled.network.forward

    def forward(**inputs):
        out = original(**inputs)
        out.logits = torch.tanh(out.logits)
        return out

    scaled.network.forward = forward
    with pytest.raises(UserError, match="does not support Qwen2ForCausalLM: its logits differ"):
        check_architecture(scaled)
    check_architecture(tiny.text_policy())
    tiny.tokenizer().save_pretrained(tmp_path)
    config = Qwen2VLConfig(vision_config={"depth": 1})
    config.model_type = "llava"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(UserError, match=r"'llava'.*qwen2_5_vl"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"expected a dtype .*, got 'fp8'"):
        Policy(tiny.text_model(), tiny.tokenizer(), compute_dtype="fp8")


def test_an_image_for_a_text_model_is_refused(any_policy):
    if not any_policy.family.reads_images:
        with pytest.raises(UserError, match=r"tiny:area.*text-only"):
            any_policy.embed_prompts([tiny.prompt("area", (4, 4))])
