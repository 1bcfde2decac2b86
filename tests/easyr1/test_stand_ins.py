"""The replacement of vLLM in a dry run makes as many image tokens as the model's processor."""

from __future__ import annotations

from dry_run_process import in_dry_run
from ray_runs import REPOSITORY

IMAGES = """
import torch
from types import SimpleNamespace
from PIL import Image
from echorl_vl.engines.easyr1.dry_run.stand_ins import LLM

llm = LLM({model!r})
policy = llm.sampler.policy
pad, kind = policy.visual.image_pad, policy.processor.image_processor
images = [Image.new("RGB", size) for size in ((56, 84), (300, 41), (10, 12), (2000, 1500))]
prompt = llm._encode(0, {{"prompt_token_ids": [5, pad, 6, pad, pad, 7, pad], "multi_modal_data": {{"image": images}}}})
grids = kind(images=images, return_tensors="pt")["image_grid_thw"].tolist()
one, two, three, four = ([pad] * (t * h * w // kind.merge_size**2) for t, h, w in grids)
assert prompt.input_ids.tolist() == [5, *one, 6, *two, *three, 7, *four]
assert prompt.image_grid_thw.tolist() == grids and len(prompt.pixel_values) == sum(t * h * w for t, h, w in grids)

policy.family = SimpleNamespace(split_images=lambda prompt: [prompt], image_features=lambda *_: [torch.zeros(3, 8)])
prompt = llm._encode(0, {{"prompt_token_ids": [5, pad], "multi_modal_data": {{"image": images[2:3]}}}})
assert prompt.input_ids.tolist() == [5, pad, pad, pad]
print("done")
"""


def test_image_has_the_number_of_tokens_of_its_family(easyr1):
    assert in_dry_run(IMAGES.format(model=str(REPOSITORY / "echorl_vl/tiny/model"))) == "done"
