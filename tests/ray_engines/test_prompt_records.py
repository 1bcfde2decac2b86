"""Images of a prompt record, which are opened once, when a rollout file is written."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from echorl_vl.data.images import open_image
from echorl_vl.engines.ray import batches
from echorl_vl.engines.ray.batches import PromptRecord
from echorl_vl.outputs.rollout_files import read_rollouts, write_rollouts
from echorl_vl.types import Problem, RolloutBatch


def encoded(width: int, height: int, color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (width, height), color).save(file, "PNG")
    return file.getvalue()


def record(*images: bytes, uid: str = "set:1") -> PromptRecord:
    return PromptRecord(Problem(uid, "?", "1", images), torch.tensor([1, 2]))


@pytest.fixture
def opened(monkeypatch) -> list[bytes]:
    """The images that have been opened."""
    calls: list[bytes] = []
    monkeypatch.setattr(batches, "open_image", lambda *given: calls.append(given[0]) or open_image(*given))
    return calls


def test_images_are_placed_side_by_side_and_large_ones_shrink(opened):
    clear = (255, 255, 255)  # transparent pixels become white
    sheet = record(encoded(100, 80, "#ff0000"), encoded(60, 40, "#0000ff00")).sheet
    assert sheet.size == (100 + 8 + 60, 80) and len(opened) == 2
    assert [sheet.getpixel(at) for at in ((99, 79), (104, 0), (110, 10), (110, 70))] == [(255, 0, 0), *[clear] * 3]
    assert record(encoded(3000, 1500, "#ff0000")).sheet.size == (1024, 512)


def test_unreadable_image_gives_no_sheet():
    assert record().sheet is None
    assert record(b"no image").sheet is None
    assert record(encoded(60, 40, "#ff0000"), b"no image").sheet is None


def test_writing_a_file_opens_each_image_of_a_problem_once(opened, tmp_path):
    images = [encoded(60 + 10 * number, 40, "#ff0000") for number in range(3)]
    prompts = [record(images[0], images[1]), record(uid="set:2"), record(images[2], uid="set:3")]
    mask = torch.ones(6, 3, dtype=torch.bool)
    rollouts = RolloutBatch(
        prompts=prompts,
        group_ids=torch.tensor([0, 0, 1, 1, 2, 2]),
        tokens=torch.ones(6, 3, dtype=torch.long),
        response_mask=mask,
        text_mask=mask,
        log_probs=None,
        entropy=None,
        truncated=~mask[:, 0],
        texts=["..."] * 6,
    )
    scores = [{"overall": 1.0}] * 6
    write_rollouts(tmp_path / "a.parquet", 1, rollouts, scores, decode=lambda pieces: pieces, images=False)
    assert not opened
    path = write_rollouts(tmp_path / "b.parquet", 1, rollouts, scores, decode=lambda pieces: pieces)
    assert opened == images
    shown = [row["picture"] and Image.open(io.BytesIO(row["picture"])).size for row in read_rollouts(path)]
    assert shown == [(60 + 8 + 70, 40), None, None, None, (80, 40), None]
