"""A text run imports no vision code: no image modules of ours, no qwen-vl-utils, no vision models.

Transformers itself imports torchvision with any model, for its object-detection losses.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

TRAIN = """
import sys
from echorl_vl import train
status = train.main(sys.argv[1:])
ours = ("echorl_vl.data.images",)
foreign = ("qwen_vl_utils", "transformers.models.qwen2_vl", "transformers.models.qwen2_5_vl")
processors = [m for m in sys.modules if "image_process" in m or "video_process" in m]
seen = processors + [m for m in sys.modules if m.startswith(ours + foreign)]
print("LOADED", status, sorted(seen))
"""


@pytest.mark.slow
def test_a_text_run_imports_no_vision_code(tmp_path) -> None:
    keys = ["data.rollout_batch_size=2", "data.max_response_length=8", "worker.rollout.n=2"]
    keys += ["worker.actor.global_batch_size=2", "worker.actor.micro_batch_size_per_device_for_update=4"]
    keys += ["trainer.max_steps=1", "trainer.logger=[file]", f"trainer.save_checkpoint_path={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, "configs/math_tiny.yaml", *keys, "data.val_files=''", "trainer.val_freq=-1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert "LOADED 0 []" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
