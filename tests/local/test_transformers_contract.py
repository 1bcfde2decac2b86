"""The behavior of transformers that the local engine relies on. A failure names the version and what has changed.

Without these tests, an upgrade that breaks one of them would show as incorrect numbers, or as an error deep inside a
forward pass.
"""

from __future__ import annotations

from inspect import signature
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from echorl_vl.engines.local.attention import SHARED_PREFIX, skip_mask
from echorl_vl.engines.local.policy import Policy

RELIES_ON = "engines/local/{} relies on it"


def holds(condition: bool, promise: str, where: str = RELIES_ON.format("attention.py")) -> None:
    """Fails with the behavior that transformers no longer has, and the code that needs it."""
    assert condition, f"transformers {transformers.__version__} broke a promise: {promise}; {where}"


@pytest.fixture(params=["vision", "qwen2", "llama"])
def policy(request) -> Policy:
    return tiny.vl_policy() if request.param == "vision" else tiny.text_policy(request.param)


class Recorder:
    """An attention layout that records its calls."""

    span = 4

    def __init__(self) -> None:
        self.calls = []

    def attend(self, layer, query, key, value, scaling):
        self.calls.append((layer, query.shape, key.shape, value.shape, scaling))
        return query.transpose(1, 2)


def run(policy: Policy, layout: object, positions: torch.Tensor | None = None) -> torch.Tensor:
    embeddings = policy.network.get_input_embeddings()(torch.tensor([5, 9, 7, 3]))
    positions = torch.arange(4) if positions is None else positions
    return policy.run_decoder(embeddings, positions.expand(policy.family.position_axes, -1), layout)


def test_attention_functions_can_be_registered():
    holds(SHARED_PREFIX in ALL_ATTENTION_FUNCTIONS.valid_keys(), "ALL_ATTENTION_FUNCTIONS.register(name, function)")
    holds(
        SHARED_PREFIX in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys(), "ALL_MASK_ATTENTION_FUNCTIONS.register(name, mask)"
    )


def test_every_layer_calls_the_configured_attention_with_our_keyword(policy):
    recorder = Recorder()
    with torch.no_grad():
        run(policy, recorder)
    config, layers = policy.decoder.config, [call[0] for call in recorder.calls]
    heads, kv_heads, size = config.num_attention_heads, config.num_key_value_heads, 8
    holds(
        layers == list(range(config.num_hidden_layers)),
        f"each layer, by `layer_idx`, calls the function of `config._attn_implementation` with the forward's own "
        f"keywords (called: {layers})",
    )
    shapes = {tuple(call[1:4]) for call in recorder.calls}
    holds(
        shapes == {((1, heads, 4, size), (1, kv_heads, 4, size), (1, kv_heads, 4, size))},
        f"query, key and value are (1, heads, N, d), keys not repeated for the heads of queries (got {shapes})",
    )
    holds(all(call[4] == size**-0.5 for call in recorder.calls), "`scaling` is passed to the attention function")


def test_a_mask_with_four_dimensions_is_used_unchanged(policy):
    seen = []

    def attention(module, query, key, value, attention_mask, **_):
        seen.append(attention_mask)
        return query.transpose(1, 2).contiguous(), None

    original = ALL_ATTENTION_FUNCTIONS[SHARED_PREFIX]
    ALL_ATTENTION_FUNCTIONS.register(SHARED_PREFIX, attention)
    try:
        with torch.no_grad():
            run(policy, None)
    finally:
        ALL_ATTENTION_FUNCTIONS.register(SHARED_PREFIX, original)
    mask = skip_mask(policy.device)
    holds(
        all(own is not None and own.shape == mask.shape for own in seen),
        "a 4-dimensional attention_mask reaches the layers unchanged, for rows of any length",
    )


def test_layers_have_an_index_and_a_window(policy):
    layers = [module for module in policy.decoder.modules() if hasattr(module, "layer_idx")]
    where = RELIES_ON.format("architecture.py (check_window)")
    holds(len(layers) >= policy.decoder.config.num_hidden_layers, "attention modules have `layer_idx`", where)
    holds(all(hasattr(layer, "config") for layer in layers), "attention modules have `config`", where)
    window = [getattr(layer, "sliding_window", getattr(layer.config, "sliding_window", None)) for layer in layers]
    holds(window == [None] * len(layers), f"without sliding windows `sliding_window` is None (got {window})", where)


def test_the_window_of_a_layer_is_an_attribute():
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4)
    config = transformers.MistralConfig(vocab_size=264, num_key_value_heads=2, sliding_window=3, **sizes)
    decoder = transformers.MistralForCausalLM(config).get_decoder()
    layers = [module for module in decoder.modules() if hasattr(module, "layer_idx")]
    found = [getattr(layer, "sliding_window", getattr(layer.config, "sliding_window", None)) for layer in layers]
    where = RELIES_ON.format("architecture.py (check_window)")
    holds(3 in found, f"a layer's window is its `sliding_window`, or its config's (got {found})", where)


def test_given_positions_are_used(policy):
    """Rotary factors depend on `position_ids`, not on the index in the row."""
    layout = Recorder()
    layout.attend = lambda layer, query, key, value, scaling: query.transpose(1, 2)
    with torch.no_grad():
        near, far = run(policy, layout), run(policy, layout, torch.arange(4) + 5)
    where = RELIES_ON.format("packing.py and kv_cache.py")
    holds(not torch.allclose(near, far), "`position_ids` decide the rotary factors", where)


def test_rope_parameters_name_the_rope_type():
    model = tiny.text_model("llama", rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0})
    rope = getattr(model.config, "rope_parameters", None) or {}
    where = "engines/local/architecture.py and evaluation/generation/transformers_backend.py rely on it"
    holds(rope.get("rope_type") == "dynamic", "`config.rope_parameters['rope_type']` says how factors scale", where)


@pytest.mark.parametrize("sizes", [[(4, 4)], [(12, 2), (4, 6)]])
def test_get_rope_index_gives_the_positions_of_qwen(vl, sizes):
    item = tiny.prompt("question", *sizes)
    options = {}
    if "mm_token_type_ids" in signature(vl.network.model.get_rope_index).parameters:
        options["mm_token_type_ids"] = (item.input_ids == vl.visual.image_pad).int()[None]
    theirs, delta = vl.network.model.get_rope_index(item.input_ids[None], image_grid_thw=item.image_grid_thw, **options)
    positions, following = vl.family.positions(vl.network, item, vl.visual.image_pad)
    where = "models/qwen2_5_vl.py computes them as well"
    holds(torch.equal(positions, theirs[:, 0]), "Qwen2.5-VL's `get_rope_index` gives M-RoPE positions", where)
    holds(following == len(item.input_ids) + int(delta), "its second result is what follows, less the length", where)


def test_image_features_are_listed_by_image(vl):
    item = tiny.prompt("question", (4, 4), (4, 6))
    with torch.no_grad():
        features = vl.family.image_features(vl.network, vl.family.split_images(item))
    promise = "`get_image_features(pixel_values, image_grid_thw)` gives (tokens, hidden) of each image"
    shapes = [tuple(own.shape) for own in features]
    holds(shapes == [(4, vl.hidden_size), (6, vl.hidden_size)], promise, "models/qwen2_5_vl.py relies on it")


def test_checkpointing_is_an_attribute_of_the_layers(policy):
    policy.network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    switched = [module for module in policy.decoder.modules() if getattr(module, "gradient_checkpointing", False)]
    promise = "`gradient_checkpointing_enable` sets `gradient_checkpointing` on the layers of the decoder"
    holds(len(switched) >= policy.decoder.config.num_hidden_layers, promise, RELIES_ON.format("policy.py"))


def test_loading_lists_keys_that_do_not_match(tmp_path):
    tiny.text_model().save_pretrained(tmp_path)
    options = dict(output_loading_info=True, ignore_mismatched_sizes=True, dtype=torch.float32)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    _, info = AutoModelForCausalLM.from_pretrained(tmp_path, config=config, **options)
    where = "models/weights.py (check_keys) relies on it"
    for name in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        holds(name in info and not info[name], f"`output_loading_info` lists {name}, none for a whole model", where)
    config.intermediate_size = 40
    _, info = AutoModelForCausalLM.from_pretrained(tmp_path, config=config, **options)
    names = [key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]]
    expected = {f"model.layers.{layer}.mlp.{name}_proj.weight" for layer in (0, 1) for name in ("up", "gate", "down")}
    holds(set(names) == expected, f"a mismatched key is a name, or a tuple that begins with it (got {names})", where)


def test_decoder_head_and_embeddings_are_found(policy):
    where = "models/base.py and models/text.py rely on it"
    holds(hasattr(policy.decoder, "layers"), "the decoder is `model.language_model`, or `get_decoder()` of text", where)
    holds(hasattr(policy.head, "out_features"), "`get_output_embeddings()` is the linear head", where)
    embeddings = policy.network.get_input_embeddings()
    holds(embeddings.embedding_dim == policy.decoder.config.hidden_size, "`get_input_embeddings()`", where)


def test_tokenizers_list_their_special_tokens():
    tokenizer, where = tiny.tokenizer(), "models/tokens.py relies on it"
    marked = [id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special]
    promise = "`added_tokens_decoder` holds each added token, with `special` and `content`"
    holds(set(map(tiny.token_id, tiny.SPECIAL)) <= set(marked) | set(tokenizer.all_special_ids), promise, where)


def test_the_message_names_version_and_promise():
    with pytest.raises(AssertionError, match=rf"transformers {transformers.__version__} broke a promise: X; Y"):
        holds(SimpleNamespace() is None, "X", "Y")
