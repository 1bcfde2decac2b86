"""Several runs in one plot: runs that differ in their seeds are one line with an interval; a table has the rest."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import yaml
from figure_texts import check_size, check_texts
from made_up_run import write_metrics

from echorl_vl.outputs import plot_curves, plots
from echorl_vl.outputs.plot_compare import accuracy_figure, curves_figure, degeneration_figure, read_groups
from echorl_vl.outputs.plot_curves import RESPONSE_LENGTH
from echorl_vl.outputs.seeds import difference_table, mean_interval

T_OF_2 = 4.302652729911275  # 97.5 % quantile of Student's t with two degrees of freedom, from a table


def write_run(folder, seed: int, accuracy: float = 0.5, validated: bool = True, **config):
    """A run of four steps, whose accuracy is that of its last validation."""
    rows = [{"step": step, "reward/accuracy": accuracy, "group/degenerate": accuracy / 2} for step in (1, 2, 3, 4)]
    for row in rows:
        row["response_length/mean"] = 100.0 * accuracy
    if validated:
        rows[-1] |= {"val/accuracy": accuracy, "val/accuracy_se": 0.01}
    write_metrics(folder, rows)
    tree = {"data": {"seed": seed}, "echo": {"coef": 0.001}, "trainer": {"experiment_name": folder.name}}
    for key, value in config.items():
        room, _, name = key.partition("__")
        tree.setdefault(room, {})[name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    return folder


@pytest.fixture
def folders(tmp_path):
    """Three seeds of one configuration, two of another, one of a third."""
    runs = [write_run(tmp_path / f"echo_seed{seed}", seed, 0.6 + seed / 100) for seed in (1, 2, 3)]
    runs += [write_run(tmp_path / f"grpo-{seed}", seed, 0.4 + seed / 100, echo__coef=0.0) for seed in (1, 2)]
    return [*runs, write_run(tmp_path / "other", 1, 0.2, echo__coef=0.0, data__shuffle=False)]


def test_runs_that_differ_in_seeds_are_one_group(folders):
    groups = read_groups(folders)
    assert [(group.label, len(group.runs), group.seeds) for group in groups] == [
        ("echo", 3, 3),
        ("grpo", 2, 2),
        ("other", 1, 1),
    ]
    assert [group.title() for group in groups] == ["echo (3 seeds)", "grpo (2 seeds)", "other"]
    assert groups[0].title(2) == "echo (2 of 3 seeds)"
    assert [group.config for group in groups] == [
        {"data.shuffle": "absent", "echo.coef": "0.001"},
        {"data.shuffle": "absent", "echo.coef": "0.0"},
        {"data.shuffle": "false", "echo.coef": "0.0"},
    ]


def test_equal_seeds_are_not_counted_as_several(tmp_path):
    (group,) = read_groups([write_run(tmp_path / f"run{number}", 7) for number in (1, 2)])
    assert group.seeds == 1 and group.title() == "run (2 runs)"


def test_a_run_without_a_config_stands_alone(folders, tmp_path):
    (folders[0] / "config.yaml").unlink()
    groups = read_groups(folders)
    assert [len(group.runs) for group in groups] == [1, 2, 2, 1]
    assert set(groups[0].config.values()) == {"?"} and set(groups[1].config) == {"data.shuffle", "echo.coef"}


def test_the_band_is_student_s_interval_of_the_mean():
    values = np.array([[0.1, 0.5], [0.2, 0.5], [0.6, 0.5]])
    mean, low, high = mean_interval(values)
    reach = T_OF_2 * statistics.stdev([0.1, 0.2, 0.6]) / math.sqrt(3)
    assert mean.tolist() == pytest.approx([0.3, 0.5])
    assert low.tolist() == pytest.approx([0.3 - reach, 0.5]) and high.tolist() == pytest.approx([0.3 + reach, 0.5])
    assert np.isnan(mean_interval(values[:2])[1]).all()


def subtitle_of(axes) -> str:
    return " ".join(axes.texts[0].get_text().split())


def test_the_accuracy_plot_shows_means_and_explains_its_lines(folders):
    (axes,) = accuracy_figure(read_groups(folders)).axes
    assert subtitle_of(axes) == (
        "Mean over problems, ± standard error; band: 95 % interval of the mean over seeds (Student's t); "
        "2 seeds: the mean, and each run as a thin line"
    )
    assert [" ".join(text.get_text().split()) for text in axes.texts[1:]] == [
        "other",
        "grpo (2 seeds)",
        "echo (3 seeds)",
    ]
    ends = sorted(float(line.get_ydata()[-1]) for line in axes.lines)
    assert ends == pytest.approx([0.2, 0.41, 0.415, 0.42, 0.62])
    band = next(area for area in axes.collections if area.get_alpha() == 0.16)  # of the first group
    heights = band.get_paths()[0].vertices[:, 1]
    reach = T_OF_2 * 0.01 / math.sqrt(3)
    assert (heights.min(), heights.max()) == pytest.approx((0.62 - reach, 0.62 + reach))


def test_runs_without_validations_are_counted(folders, tmp_path):
    groups = read_groups([*folders[:3], write_run(tmp_path / "echo_seed4", 4, validated=False)])
    (axes,) = accuracy_figure(groups).axes
    assert [text.get_text() for text in axes.texts[1:]] == ["echo (3 of 4 seeds)"]


def test_training_curves_of_seeds_are_moving_means(folders):
    groups = read_groups(folders)
    (axes,) = degeneration_figure(groups[:1]).axes
    assert "rewards are all equal; moving means; band: 95 %" in subtitle_of(axes)
    assert [line.get_ydata().tolist() for line in axes.lines] == [pytest.approx([0.31] * 4)]
    figure = curves_figure(groups, [RESPONSE_LENGTH])
    texts = [text.get_text() for text in figure.texts]
    assert "━  echo (3 seeds)" in texts and "━  other" in texts
    assert any("moving means, with each step of single runs" in text.lower() for text in texts)


def test_the_plot_has_the_table_of_differences(folders):
    texts = [text.get_text() for text in accuracy_figure(read_groups(folders)).texts]
    assert texts[::-1] == difference_table(read_groups(folders))


def test_texts_can_be_read(folders, tmp_path):
    long_name = tmp_path / ("a_run_with_a_name_that_is_much_too_long_" * 2)
    folders += [write_run(long_name, 1, 0.21, algorithm__name="x" * 99, data__files=list(range(90)))]
    groups = read_groups(folders)
    curves = [curve for curve in plot_curves.CURVES if curve is not plot_curves.CLIP_FRACTION]
    for figure in (accuracy_figure(groups), degeneration_figure(groups), curves_figure(groups, curves)):
        check_size(figure, "compare")
        check_texts(figure, "compare")


@pytest.mark.parametrize("names", [("a", "b", "c"), ("a" * 90, "b" * 90, "c" * 90)])
@pytest.mark.parametrize("width", [80, 60])
def test_the_table_fits_its_width(tmp_path, names, width):
    configs = ({"echo__coef": 0.0}, {"echo__coef": 0.1, "data__files": list(range(90))}, {"algorithm__name": "x" * 99})
    groups = read_groups([write_run(tmp_path / name, 1, **config) for name, config in zip(names, configs, strict=True)])
    lines = difference_table(groups, width)
    assert max(map(len, lines)) <= width
    for key in ("echo.coef", "data.files", "algorithm.name"):
        assert sum(line.startswith(key) for line in lines) == 1


def test_a_narrow_table_has_one_row_per_key(folders):
    assert difference_table(read_groups(folders)) == [
        "configuration key  echo    grpo    other",
        "data.shuffle       absent  absent  false",
        "echo.coef          0.001   0.0     0.0",
    ]


def test_the_command_prints_the_table(folders, tmp_path, capsys):
    assert plots.main([*map(str, folders), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("configuration key") and max(map(len, lines[:3])) <= 80
    assert lines[3:] == [str(tmp_path / "out" / name) for name in ("learning.png", "degeneration.png", "curves.png")]


def test_the_plot_says_that_a_config_is_unreadable(tmp_path):
    runs = [write_run(tmp_path / name, 1) for name in ("a", "b")]
    (runs[1] / "config.yaml").unlink()
    texts = [text.get_text() for text in accuracy_figure(read_groups(runs)).texts]
    assert texts == ["No difference is known: a config.yaml can't be read."]
