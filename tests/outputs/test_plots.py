"""Any run can be plotted: a complete one, one step, missing columns, NaN."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from made_up_run import metric_rows, write_metrics, write_rollouts_of
from PIL import Image

from echorl_vl.outputs import plot_style, plots
from echorl_vl.outputs.plot_data import RunData, ends
from echorl_vl.outputs.plot_examples import choose_examples, examples_figure
from echorl_vl.outputs.plot_rollouts import choose_groups
from echorl_vl.outputs.rollout_files import read_rollouts


def plot_names(paths: list) -> set[str]:
    """Names of the plots. Checks that none is blank."""
    for path in paths:
        with Image.open(path) as image:
            assert image.size[0] > 800
            assert np.asarray(image.convert("L")).std() > 5, f"{path} is blank"
    return {path.name for path in paths}


def test_a_whole_run(tmp_path):
    write_metrics(tmp_path, metric_rows(30))
    write_rollouts_of(tmp_path, 30)
    assert plot_names(plots.write_plots(tmp_path)) == {
        "learning.png",
        "degeneration.png",
        "echo.png",
        "curves.png",
        "timing.png",
        "entropy.png",
        "examples.png",
        "summary.png",
    }


ODD = {
    "one step": [{"step": 1, "reward/accuracy": 0.5, "group/all_success": 1.0, "timing_s/gen": 1.0}],
    "validation only": [{"step": 0, "val/accuracy_reward": 0.5, "val/problems": 64}],
    "nothing known": [{"step": 1, "other": 1.0}],
    "all null": [
        {"step": s, "reward/accuracy": None, "group/all_success": None, "echo/loss": None, "timing_s/gen": None}
        for s in (1, 2)
    ],
    "holes and zeros": [
        {
            "step": s,
            "reward/accuracy": None if s % 2 else 1.0,
            "group/all_success": 0.0 if s % 3 else None,
            "echo/loss": 0,
        }
        for s in range(1, 8)
    ],
}


@pytest.mark.parametrize("rows", ODD.values(), ids=ODD.keys())
def test_odd_metrics(tmp_path, rows):
    write_metrics(tmp_path, rows)
    found = plot_names(plots.write_plots(tmp_path))
    assert "learning.png" in found
    assert ("timing.png" in found) == any(row.get("timing_s/gen") for row in rows)


def test_no_rows_and_odd_rollouts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    assert plots.write_plots(tmp_path) == []
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "step_000009.parquet").write_bytes(b"damaged")  # the newest readable file is used
    write_rollouts_of(tmp_path, 3, prompts=1, n=1, seed=5)
    assert "entropy.png" in plot_names(plots.write_plots(tmp_path))


def test_a_plot_shows_long_foreign_text_with_dollars(tmp_path):
    write_metrics(tmp_path, ODD["one step"])
    path = write_rollouts_of(tmp_path, 1, prompts=1, n=2, seed=2)
    rows = read_rollouts(path)
    row = next(row for row in rows if row["is_clip_source"])
    row["step_texts"] = [f"$\\frac{{1}}{{2 $ 求面积 {'long ' * 60}\n"] * len(row["step_texts"])
    row["step_entropies"][0] = math.nan
    row["question"] = "<image>$x_ 是多少? " * 40
    with plot_style.style():
        assert plot_names([plot_style.save(examples_figure(rows), tmp_path / "examples.png")])


def test_several_runs_in_one_plot(tmp_path):
    for name in ("grpo", "echo"):
        write_metrics(tmp_path / name, metric_rows(12))
    assert plots.main([str(tmp_path / "grpo"), str(tmp_path / "echo"), "--out", str(tmp_path / "both")]) == 0
    assert plot_names(list((tmp_path / "both").iterdir())) == {"learning.png", "degeneration.png", "curves.png"}


def test_a_folder_without_metrics_is_an_error(tmp_path, capsys):
    assert plots.main([str(tmp_path)]) == 2
    assert str(tmp_path / "metrics.jsonl") in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("window", [1, 3, 4, 9])
def test_smoothing_is_a_centred_mean_that_ignores_nan(window):
    rng = np.random.default_rng(window)
    values = np.where(rng.random(20) < 0.3, np.nan, rng.random(20))
    half = (window | 1) // 2
    naive = []
    for index in range(20):
        near = [v for v in values[max(index - half, 0) : index + half + 1] if not math.isnan(v)]
        naive.append(sum(near) / len(near) if near else math.nan)
    np.testing.assert_allclose(plot_style.smooth(values, window), naive)


def test_run_data(tmp_path):
    write_metrics(
        tmp_path,
        [
            {"step": 0, "val/accuracy_reward": 0.25, "val/problems": 48},
            {"step": 1, "timing_s/gen": 1.0, "timing_s/step": 3.0, "timing_s/update_actor": 2.0},
            {"step": 2, "val/accuracy_reward": 0.5, "val/accuracy_se": 0.1, "timing_s/gen": None},
        ],
    )
    run = RunData.read(tmp_path)
    steps, accuracy, error = run.validations()
    assert steps.tolist() == [0, 2]
    assert accuracy.tolist() == [0.25, 0.5]
    assert error.tolist() == pytest.approx([math.sqrt(0.25 * 0.75 / 48), 0.1])
    assert {name: values.tolist() for name, values in run.phases().items()} == {
        "update": [0, 2, 0],
        "rollouts": [0, 1, 0],
    }
    assert ends(np.array([1.0, np.nan, 2.0, 3.0])) == (1.0, 3.0, 1)
    assert math.isnan(ends(np.array([np.nan]))[0])


def test_the_choice_of_rollouts_for_plots(tmp_path):
    rows = read_rollouts(write_rollouts_of(tmp_path, 1, prompts=5, n=4, seed=1))
    heights = {row["group"]: row["clip_step_entropy"] for row in rows if row["is_clip_source"]}
    order = sorted(heights, key=heights.get, reverse=True)
    picked = choose_groups(rows, 3, 2)
    assert [group[0]["group"] for group in picked] == order[:3]
    assert all(len(group) == 2 and any(row["is_clip_source"] for row in group) for group in picked)
    examples = choose_examples(rows, 2)
    assert [row["group"] for row, _ in examples] == order[:2]
    by_group = {row["group"]: row["picture"] for row in rows if row["picture"]}
    assert all(image == by_group[row["group"]] for row, image in examples)
    assert json.dumps(order)


def test_examples_of_text_leave_no_room_for_images(tmp_path):
    rows = read_rollouts(write_rollouts_of(tmp_path, 1, prompts=5, n=4, seed=1))
    with_images, without = (examples_figure(chosen) for chosen in (rows, [row | {"picture": None} for row in rows]))
    assert choose_examples(rows, 1)[0][1] is not None
    assert without.get_figheight() < with_images.get_figheight()


@pytest.mark.parametrize(
    ("places", "top"), [([0.0, 0.0, 1.0, 5.0], 300.0), ([298.0, 299.0, 300.0], 300.0), ([10.0, 150.0], 300.0)]
)
def test_labels_at_the_ends_of_lines_keep_apart_and_within_the_axes(places, top):
    positions = plot_style._apart(list(places), [12.0] * len(places), top)
    gaps = [high - low for low, high in itertools.pairwise(positions)]
    assert min(gaps) > 11.8 and positions[0] >= 0 and positions[-1] <= top
    if places == [10.0, 150.0]:
        assert positions == places
