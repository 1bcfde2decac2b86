"""Visual token ids, text masks, rotary positions and distinct images."""

from __future__ import annotations

from inspect import signature
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch
from transformers import AutoConfig, AutoTokenizer

from echorl_vl.errors import UserError
from echorl_vl.models import FAMILIES
from echorl_vl.models.images import distinct_images
from echorl_vl.models.qwen2_5_vl import mrope_positions
from echorl_vl.models.tokens import VisualTokens, text_mask

MERGE = 2


@pytest.fixture(scope="module")
def visual() -> VisualTokens:
    return VisualTokens.find(tiny.vl_config(), tiny.tokenizer())


def test_ids_are_read_from_the_config_and_otherwise_from_the_tokenizer():
    config = SimpleNamespace(image_token_id=7, vision_start_token_id=3)
    found = VisualTokens.find(config, tiny.tokenizer())
    assert found.image_pad == 7
    assert found.ids == tuple(
        sorted([7, 3, *map(tiny.token_id, ("<|video_pad|>", "<|vision_end|>", "<|vision_pad|>"))])
    )


def test_a_text_model_has_no_visual_tokens():
    found = VisualTokens.find(SimpleNamespace(), SimpleNamespace(get_vocab=lambda: {"a": 0}))
    assert found == VisualTokens() and found.ids == ()
    assert not found.mask(torch.arange(5)).any()
    assert not found.logit_bias(5).any()


def test_the_ids_of_qwen2_5_vl_are_found(shared_data, tmp_path):
    folder = shared_data / "qwen2_5_vl"
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_bytes((folder / "config.3b.json").read_bytes())
    found = VisualTokens.find(AutoConfig.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path))
    assert found.image_pad == 151655
    assert found.ids == (151652, 151653, 151654, 151655, 151656)


def test_mask_and_bias_mark_exactly_the_visual_ids(visual):
    ids = torch.arange(272)
    expected = torch.tensor([int(i) in visual.ids for i in ids])
    assert torch.equal(visual.mask(ids), expected)
    assert torch.equal(visual.mask(ids.view(2, -1)), expected.view(2, -1))
    assert torch.equal(visual.logit_bias(272).isneginf(), expected)
    assert not visual.logit_bias(272)[~expected].any()


def test_text_mask_drops_visual_special_and_foreign_tokens(visual):
    end, start, pad = map(tiny.token_id, ("<|im_end|>", "<|vision_start|>", "<|image_pad|>"))
    tokens = torch.tensor([[10, start, pad, 11, 12, end], [13, 14, end, 5, 5, 5]])
    written = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).bool()
    special = torch.tensor([end])
    assert text_mask(tokens, written, visual, special).tolist() == [
        [True, False, False, True, True, False],
        [True, True, False, False, False, False],
    ]
    # Ids in an image span may look like text, for example discrete image tokens of another model.
    spans = torch.zeros_like(written)
    spans[0, 3] = True
    assert text_mask(tokens, written, visual, special, spans)[0].tolist() == [True, False, False, False, True, False]
    assert written.all(1).tolist() == [True, False]  # the response mask is unchanged


@pytest.mark.parametrize("sizes", [[(4, 4)], [(2, 12)], [(12, 2), (4, 6), (2, 2)], [(6, 10), (6, 10)]])
def test_positions_equal_those_of_transformers(vl, sizes):
    item = tiny.prompt("question", *sizes)
    options = {}
    if "mm_token_type_ids" in signature(vl.network.model.get_rope_index).parameters:  # transformers 5
        options["mm_token_type_ids"] = (item.input_ids == vl.visual.image_pad).int()[None]
    get_rope_index = vl.network.model.get_rope_index
    expected, delta = get_rope_index(item.input_ids[None], image_grid_thw=item.image_grid_thw, **options)
    positions, following = mrope_positions(item.input_ids, item.image_grid_thw, vl.visual.image_pad, MERGE)
    assert torch.equal(positions, expected[:, 0])
    assert following == len(item.input_ids) + int(delta)


def test_positions_of_text_are_consecutive():
    for image_pad in (None, 200):
        positions, following = mrope_positions(torch.arange(5), None, image_pad, MERGE)
        assert positions.tolist() == [[0, 1, 2, 3, 4]] * 3 and following == 5


def test_image_tokens_that_do_not_match_their_image_are_refused(vl):
    item = tiny.prompt("question", (4, 4))
    with pytest.raises(UserError, match=r"expected 6 image tokens in the prompt, .*, got 4"):
        mrope_positions(item.input_ids, torch.tensor([[1, 4, 6]]), vl.visual.image_pad, MERGE)
    cut = tiny.Prompt(SimpleNamespace(uid="set:17"), item.input_ids[:4], item.pixel_values, item.image_grid_thw)
    with pytest.raises(UserError, match="set:17"):
        vl.prompt_positions([cut])


def test_equal_images_are_found_in_different_objects():
    two = tiny.prompt("q", (4, 4), (4, 8), seed=1)
    copy = tiny.Prompt(None, two.input_ids, two.pixel_values.clone(), two.image_grid_thw.clone())
    last = tiny.Prompt(None, two.input_ids, two.pixel_values[16:].clone(), two.image_grid_thw[1:])
    turned = tiny.Prompt(None, two.input_ids, two.pixel_values[16:].flip(0), two.image_grid_thw[1:])  # same sum
    split = FAMILIES["Qwen2_5_VL"].split_images
    images, prompt_index = distinct_images([two, tiny.prompt("text"), copy, last, turned], split)
    assert prompt_index == [[0, 1], [], [0, 1], [1], [2]]
    assert [image.grid_thw.tolist() for image in images] == [[1, 4, 4], [1, 4, 8], [1, 4, 8]]
    assert torch.equal(torch.cat([image.pixel_values for image in images[:2]]), two.pixel_values)
    assert distinct_images([tiny.prompt("text")], split) == ([], [[]])
