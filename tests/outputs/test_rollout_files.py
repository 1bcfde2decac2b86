"""Rollouts are written to parquet and read back, with images, steps and clips."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_up_run import decode, rollouts, triangle_image, write_rollouts_of
from PIL import Image

from echorl_vl.core.mining import EchoClips
from echorl_vl.errors import UserError
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files, write_rollouts


def test_round_trip(tmp_path):
    made = rollouts(prompts=3, n=4, seed=1)
    path = write_rollouts(
        tmp_path / "rollouts" / "step_000007.parquet",
        7,
        made.rollouts,
        made.rewards,
        decode=decode,
        step_ids=made.step_ids,
        advantages=made.advantages,
        verified=made.verified,
        clips=made.clips,
    )
    rows = read_rollouts(path)
    assert [path.name for path in path.parent.iterdir()] == ["step_000007.parquet"]
    assert len(rows) == 12
    sources = dict(zip(made.clips.rows.tolist(), range(len(made.clips.rows)), strict=True))
    for index, row in enumerate(rows):
        length = int(made.rollouts.response_mask[index].sum())
        ids, entropy = made.step_ids[index, :length], made.rollouts.entropy[index, :length]
        problem = made.rollouts.prompts[index // 4].problem
        assert (row["step"], row["row"], row["group"]) == (7, index, index // 4)
        assert (row["uid"], row["question"], row["answer"]) == (problem.uid, problem.question, problem.answer)
        assert row["response"] == made.rollouts.texts[index] == "".join(row["step_texts"])
        assert row["tokens"] == made.rollouts.tokens[index, :length].tolist()
        assert row["step_ids"] == ids.tolist()
        assert ids[-1] == -1  # the end token is kept, but in no step
        np.testing.assert_array_equal(np.float32(row["entropies"]), entropy)
        np.testing.assert_array_equal(np.float32(row["log_probs"]), made.rollouts.log_probs[index, :length])
        for number, value in enumerate(row["step_entropies"]):
            members = [entropy[t] for t in range(length) if ids[t] == number]
            assert value == pytest.approx(sum(members) / len(members), rel=1e-6)
        assert row["advantage"] == made.advantages[index]
        assert row["verified"] == made.verified[index]
        assert row["truncated"] is False
        assert {key: row[f"reward_{key}"] for key in ("overall", "accuracy", "format")} == pytest.approx(
            made.rewards[index]
        )
        assert row["is_clip_source"] == (index in sources)
        if index in sources:
            end = int(made.clips.ends[sources[index]])
            assert (row["clip_end"], row["clip_tokens"]) == (end, end + 1)
            assert row["clip_text"] == made.rollouts.texts[index][: end + 1]
            assert row["clip_step"] == ids[end]
            assert row["clip_step_entropy"] == pytest.approx(row["step_entropies"][row["clip_step"]], rel=1e-5)
        else:
            assert row["clip_end"] is row["clip_text"] is row["clip_step_entropy"] is None
        assert (row["picture"] is not None) == (index % 4 == 0)  # once per prompt
    stored = Image.open(io.BytesIO(rows[4]["picture"]))
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(triangle_image(1)))


def test_torch_tensors_and_real_clips_and_several_in_one_row(tmp_path):
    made = rollouts(prompts=1, n=2)
    batch = made.rollouts
    for name in ("tokens", "response_mask", "log_probs", "entropy", "group_ids", "truncated"):
        setattr(batch, name, torch.as_tensor(getattr(batch, name)))
    ids = torch.as_tensor(made.step_ids)
    ends = [int((ids[1] <= number).nonzero()[:, 0][ids[1][ids[1] <= number] >= 0].max()) for number in (0, 1)]
    clips = EchoClips(
        rows=torch.tensor([1, 1]),
        ends=torch.tensor(ends),
        lengths=torch.tensor([end + 1 for end in ends]),
        step_entropies=torch.tensor([0.2, 0.9]),
        weights=torch.tensor([0.5, 0.5]),
        token_weights=torch.zeros(ids.shape),
    )
    path = write_rollouts(tmp_path / "f.parquet", 1, batch, made.rewards, decode=decode, step_ids=ids, clips=clips)
    first, second = read_rollouts(path)
    assert not first["is_clip_source"]
    assert second["clip_end"] == ends[1]
    assert second["clip_step_entropy"] == pytest.approx(0.9)
    assert second["advantage"] is None
    assert second["verified"] is None


def test_without_steps_clips_and_images(tmp_path):
    made = rollouts(prompts=2, n=1)
    made.rollouts.response_mask[1] = False  # an empty response
    path = write_rollouts(tmp_path / "f.parquet", 1, made.rollouts, made.rewards, decode=decode, images=False)
    rows = read_rollouts(path)
    assert [row["step_texts"] for row in rows] == [[], []]
    assert [row["picture"] for row in rows] == [None, None]
    assert rows[1]["tokens"] == []


def test_any_reward_parts(tmp_path):
    made = rollouts(prompts=1, n=2)
    scores = [{"overall": 1, "my_own": 0.5}, {"overall": 0.0, "comment": "text"}]
    rows = read_rollouts(write_rollouts(tmp_path / "f.parquet", 1, made.rollouts, scores, decode=decode))
    assert [row["reward_my_own"] for row in rows] == [0.5, None]
    assert [row["reward_comment"] for row in rows] == [None, None]
    with pytest.raises(ValueError, match="1 scores for 2 rollouts"):
        write_rollouts(tmp_path / "g.parquet", 1, made.rollouts, scores[:1], decode=decode)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_rollouts_of(tmp_path, 1)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("echorl_vl.outputs.rollout_files.pq.write_table", full)
    with pytest.raises(UserError, match="no space left"):
        write_rollouts_of(tmp_path, 1, seed=3)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_files_by_step_and_bad_files(tmp_path):
    for step in (12, 3):
        write_rollouts_of(tmp_path, step, prompts=1, n=1)
    (tmp_path / "rollouts" / "step_x.parquet").touch()
    assert list(rollout_files(tmp_path)) == [3, 12]
    assert rollout_files(tmp_path, "validation") == {}
    for name in ("step_x.parquet", "missing.parquet"):
        with pytest.raises(UserError, match=name):
            read_rollouts(tmp_path / "rollouts" / name)


def test_a_step_without_text_tokens_is_nan_not_an_error(tmp_path):
    made = rollouts(prompts=1, n=1)
    ids = np.where(made.step_ids == 1, -1, made.step_ids)  # as if step 1 had only image tokens
    rows = read_rollouts(
        write_rollouts(tmp_path / "f.parquet", 1, made.rollouts, made.rewards, decode=decode, step_ids=ids)
    )
    assert np.isnan(rows[0]["step_entropies"][1])
    assert rows[0]["step_texts"][1] == ""
    assert SimpleNamespace(**rows[0]).response == made.rollouts.texts[0]
