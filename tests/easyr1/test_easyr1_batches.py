"""Images of EasyR1's batches, which are opened once, when a rollout file is written."""

from __future__ import annotations

from dry_run_process import in_dry_run

IMAGES = """
import io
import numpy as np, torch
from PIL import Image
from verl.protocol import DataProto
from echorl_vl.data.images import open_image
from echorl_vl.engines.easyr1.batches import BatchReader
from echorl_vl.engines.ray import batches
from echorl_vl.outputs.rollout_files import read_rollouts, write_rollouts

def encoded(color):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), color).save(file, "PNG")
    return file.getvalue()

class Tokenizer:
    all_special_ids, added_tokens_decoder = [0], {}
    def batch_decode(self, pieces, **_): return ["a" * len(piece) for piece in pieces]
    def get_vocab(self): return {}

images = [encoded("red"), encoded("blue"), encoded("green")]
one, other = {"images": [{"bytes": image, "path": None} for image in images[:2]]}, {"images": [images[2]]}
columns = {
    "uid": ["x"] * 2 + ["y"] * 2 + ["z"], "problem_uid": ["s:1"] * 2 + ["s:2"] * 2 + ["s:3"],
    "problem_question": ["?"] * 5, "ground_truth": ["1"] * 5, "multi_modal_data": [one] * 2 + [other] * 2 + [{}],
}
ones = torch.ones(5, 3, dtype=torch.long)
tensors = {"prompts": ones, "responses": ones, "response_mask": ones, "attention_mask": torch.ones(5, 6)}
calls = []
batches.open_image = lambda *given: calls.append(given[0]) or open_image(*given)
columns = {name: np.array(values, dtype=object) for name, values in columns.items()}
rollouts = BatchReader(Tokenizer()).read(DataProto.from_dict(tensors, columns))
assert not calls
path = write_rollouts("images.parquet", 1, rollouts, [{"overall": 1.0}] * 5, decode=lambda pieces: pieces)
assert calls == images, len(calls)
shown = [row["picture"] and Image.open(io.BytesIO(row["picture"])) for row in read_rollouts(path)]
assert [shown[row] for row in (1, 3, 4)] == [None] * 3
expected = Image.new("RGB", (128, 40), "white")
expected.paste("red", (0, 0, 60, 40))
expected.paste("blue", (68, 0, 128, 40))
for found, want in ((shown[0], expected), (shown[2], Image.new("RGB", (60, 40), "green"))):
    assert found.mode == want.mode and found.tobytes() == want.tobytes()
print("done")
"""


def test_writing_a_file_opens_each_image_once(easyr1, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert in_dry_run(IMAGES) == "done"
