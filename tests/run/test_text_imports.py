"""A text run loads nothing of vision: neither our modules for pictures, nor qwen-vl-utils, nor vision models.

Transformers itself imports torchvision with any model (its losses of object detection do); that is not ours to change.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

MAKE_MODEL = """
import sys
sys.path.insert(0, "tests/local")
import tiny_models
tiny_models.text_model().save_pretrained(sys.argv[1])
tiny_models.tokenizer().save_pretrained(sys.argv[1])
"""

TRAIN = """
import sys
from echorl_vl import train
status = train.main(sys.argv[1:])
ours = ("echorl_vl.vision", "echorl_vl.data.images", "echorl_vl.data.picture_fit", "echorl_vl.engines.local.pictures")
foreign = ("qwen_vl_utils", "transformers.models.qwen2_vl", "transformers.models.qwen2_5_vl")
processors = [m for m in sys.modules if "image_process" in m or "video_process" in m]
seen = processors + [m for m in sys.modules if m.startswith(ours + foreign)]
print("LOADED", status, sorted(seen))
"""


def test_a_text_run_imports_nothing_of_vision(tmp_path) -> None:
    model, problems = tmp_path / "model", tmp_path / "problems.jsonl"
    rows = [{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(4)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    subprocess.run([sys.executable, "-c", MAKE_MODEL, model], cwd=REPOSITORY, check=True, capture_output=True)
    overrides = [
        f"worker.actor.model.model_path={model}",
        f"data.train_files={problems}",
        "data.val_files=''",
        "data.rollout_batch_size=2",
        "data.max_response_length=8",
        "worker.rollout.n=2",
        "worker.actor.global_batch_size=2",
        "worker.actor.micro_batch_size_per_device_for_update=4",
        "trainer.max_steps=1",
        "trainer.val_freq=-1",
        "trainer.val_before_train=false",
        "trainer.logger=[file]",
        f"trainer.save_checkpoint_path={tmp_path / 'run'}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, "configs/geo3k_tiny.yaml", *overrides],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert "LOADED 0 []" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
