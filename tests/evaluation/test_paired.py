"""Paired statistics against loops, exact enumeration, and the values of the code that scipy replaced."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
import zlib

import numpy as np
import pytest

from echorl_vl.evaluation.paired import mean_difference, paired_bootstrap, sign_flip_p, t_interval


def test_the_bootstrap_against_a_loop():
    draw = random.Random(5)
    differences = [draw.choice([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0]) for _ in range(40)]
    found = paired_bootstrap(differences, seed=1, resamples=20_000)
    means = sorted(sum(draw.choices(differences, k=40)) / 40 for _ in range(20_000))
    assert found.value == pytest.approx(sum(differences) / 40)
    assert found.low == pytest.approx(means[500], abs=0.02) and found.high == pytest.approx(means[19_500], abs=0.02)
    share = (sum(mean < 0 for mean in means) + sum(mean == 0 for mean in means) / 2) / 20_000
    assert found.p_not_better == pytest.approx(share, abs=0.01)
    assert found.standard_error == pytest.approx(np.std(differences) / math.sqrt(40), rel=0.05)


@pytest.fixture
def bootstrap_only(monkeypatch):
    """Skips the permutation test, which takes most of the time, where only the bootstrap counts."""
    monkeypatch.setattr("echorl_vl.evaluation.paired.sign_flip_p", lambda shares: 1.0)


@pytest.mark.usefixtures("bootstrap_only")
def test_the_interval_has_its_nominal_coverage():
    random_state = np.random.default_rng(0)
    truth, covered = 0.1, 0
    for trial in range(200):
        draws = random_state.choice([-1.0, 0.0, 1.0], size=100, p=[0.2, 0.5, 0.3])
        found = paired_bootstrap(draws, seed=trial, resamples=400)
        covered += found.low <= truth <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_clusters_are_resampled_and_flipped_together():
    draw = random.Random(8)
    names = ["a"] * 7 + ["b"] * 2 + ["c"] * 4 + ["", "", ""] + ["d"] * 3
    differences = [draw.choice([-1.0, 0.0, 0.5, 1.0]) for _ in names]
    groups = [differences[:7], differences[7:9], differences[9:13], *([one] for one in differences[13:16])]
    groups.append(differences[16:])
    found = paired_bootstrap(differences, seed=1, resamples=20_000, clusters=names)
    means = []
    for _ in range(20_000):
        resample = [value for group in draw.choices(groups, k=len(groups)) for value in group]
        means.append(sum(resample) / len(resample))
    means.sort()
    assert found.value == pytest.approx(sum(differences) / len(differences))
    assert found.low == pytest.approx(means[500], abs=0.02) and found.high == pytest.approx(means[19_500], abs=0.02)
    assert found.standard_error == pytest.approx(np.std(means), rel=0.03)
    assert found.sign_flip_p == sign_flip_p([sum(group) for group in groups])


def test_clusters_of_one_question_change_nothing():
    differences = np.random.default_rng(2).choice([-1.0, 0.0, 0.5], size=50)
    plain, named = (paired_bootstrap(differences, clusters=names) for names in (None, list(map(str, range(50)))))
    assert (plain.means == named.means).all() and (plain.shares == named.shares).all()
    indices = np.random.default_rng([0, zlib.crc32(b"")]).integers(0, 50, (10_000, 50))
    assert plain.means == pytest.approx(differences[indices].mean(axis=1))


@pytest.mark.usefixtures("bootstrap_only")
@pytest.mark.parametrize(("clustered", "trials", "resamples"), [(True, 300, 200), (False, 40, 60)])
def test_equally_good_models_on_five_versions_of_each_problem(clustered, trials, resamples):
    """788 problems; a model answers all five versions correctly or none, except for one answer in ten."""
    random_state = np.random.default_rng(0)
    clusters = [f"problem {index // 5}" for index in range(3940)] if clustered else None
    outside = 0
    for trial in range(trials):
        sides = []
        for _ in range(2):
            knows = np.repeat(random_state.random(788) < 0.5, 5)
            sides.append(knows ^ (random_state.random(3940) < 0.1))
        difference = sides[1].astype(float) - sides[0]
        found = paired_bootstrap(difference, seed=trial, resamples=resamples, clusters=clusters)
        outside += not found.low <= 0 <= found.high
    low, high = (0.02, 0.09) if clustered else (0.2, 0.5)
    assert low <= outside / trials <= high


def test_the_same_results_show_no_difference():
    found = paired_bootstrap([0.0] * 10)
    assert (found.value, found.low, found.high, found.p_not_better) == (0, 0, 0, 0.5)
    assert found.verdict == "no difference shown"


def test_verdicts_and_seeds():
    assert paired_bootstrap([1.0] * 30 + [0.0] * 30).verdict == "B is better"
    assert paired_bootstrap([-1.0] * 30 + [0.0] * 30).verdict == "A is better"
    some = [1.0, -1.0, 0.5, 0.0]
    assert paired_bootstrap(some, seed=3).low == paired_bootstrap(some, seed=3).low
    with pytest.raises(ValueError, match="no questions"):
        paired_bootstrap([])


@pytest.mark.usefixtures("bootstrap_only")
def test_many_questions_are_resampled_in_batches():
    found = paired_bootstrap(np.linspace(-1, 1.2, 12_032), resamples=1000)
    assert found.means.shape == (1000,) and found.value == pytest.approx(0.1)


def test_the_mean_over_benchmarks():
    small, large = paired_bootstrap([1.0, 0.0]), paired_bootstrap([0.0] * 1000)
    mean = mean_difference([small, large])
    assert mean.value == pytest.approx(0.25) and mean.low <= 0.25 <= mean.high
    assert mean.sign_flip_p == sign_flip_p([0.25, 0.0])


def test_benchmarks_of_one_size_are_resampled_independently():
    draws = np.random.default_rng(4).normal(size=30)
    one, other = paired_bootstrap(draws, name="aime24"), paired_bootstrap(-draws, name="aime25")
    mean = mean_difference([one, other])
    independent = math.hypot(one.standard_error, other.standard_error) / 2  # with the same resamples it would be 0
    assert mean.standard_error == pytest.approx(independent, rel=0.05)


@pytest.mark.parametrize("questions", [30, 12_032])
def test_four_wins_and_no_loss_are_not_enough(questions):
    found = paired_bootstrap([1.0] * 4 + [0.0] * (questions - 4), resamples=1000)
    assert found.low > 0 or questions > 30
    assert found.sign_flip_p == 0.125 and found.verdict == "no difference shown"


@pytest.mark.parametrize(
    "differences",
    [
        [0.1, 0.2, 0.3, 0.4, 0.5],
        [0.1, -0.2, 0.3, 0.1],
        [0.1, 0.2, -0.3],  # 5.6e-17 in floating point, and 0 in truth
        [0.0, 0.0],
        [0.7],
        [0.1, 0.1, -0.1, 0.1, 0.1, -0.1],
    ],
)
def test_the_permutation_test_enumerates_all_sign_assignments(differences):
    observed = abs(sum(differences))
    flips = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) for signs in flips]
    assert sign_flip_p(differences) == sum(each >= observed - 1e-12 for each in sums) / len(flips)


def test_five_pairs_give_p_of_at_least_one_sixteenth():
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0]) == 2 / 2**5


def test_sixteen_pairs_are_enumerated():
    draws = np.random.default_rng(16).normal(size=16)
    signs = np.array(list(itertools.product((1, -1), repeat=16)))
    assert sign_flip_p(draws) == np.mean(np.abs(signs @ draws) >= abs(draws.sum()) - 1e-12)


def test_p_ignores_values_that_are_not_finite():
    assert sign_flip_p([math.nan, 1.0, 2.0, math.inf]) == sign_flip_p([1.0, 2.0])
    assert math.isnan(sign_flip_p([])) and math.isnan(sign_flip_p([math.nan]))


@pytest.mark.parametrize(("wins", "losses"), [(70, 40), (16, 12), (60, 50), (20, 5), (17, 0)])
def test_many_pairs_are_sampled_and_agree_with_the_exact_test(wins, losses):
    differences = [1.0] * wins + [-1.0] * losses + [0.0] * 12_000
    pairs = wins + losses
    below = sum(math.comb(pairs, k) for k in range(losses + 1)) / 2**pairs  # McNemar's exact test
    found, exact, samples = sign_flip_p(differences), 2 * below, 2**16
    assert abs(found - exact) <= 4 * math.sqrt(exact * (1 - exact) / samples) + 1 / samples


def test_thirty_pairs_of_one_sign_give_the_smallest_sampled_p():
    assert sign_flip_p([1.0] * 30) == 1 / 2**16


MIXED = [1.0, -1.0, 0.5, 0.0] * 10 + [1.0] * 5


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        (None, (0.0, 0.43333333333333335, 0.11192475369115028, 0.0275, 0.0708770751953125)),
        (
            [f"problem {index // 3}" for index in range(45)],
            (0.06666666666666667, 0.4, 0.08570534264813819, 0.0015, 0.03271484375),
        ),
    ],
)
def test_results_are_those_of_version_0_1(clusters, expected):
    """Recorded before scipy did the resampling: the same resamples and the same sampled signs."""
    found = paired_bootstrap(MIXED, seed=3, resamples=2000, name="aime24", clusters=clusters)
    assert found.value == pytest.approx(10 / 45)
    values = (found.low, found.high, found.standard_error, found.p_not_better, found.sign_flip_p)
    assert values == pytest.approx(expected, abs=1e-9)


def test_one_cluster_has_an_interval_of_no_width():
    found = paired_bootstrap([1.0, 0.0, 1.0], clusters=["a", "a", "a"], resamples=100)
    assert found.low == found.high == found.value == pytest.approx(2 / 3)
    assert found.standard_error == pytest.approx(0, abs=1e-12) and found.means.shape == (100,)
    assert (found.sign_flip_p, found.verdict) == (1.0, "no difference shown")


@pytest.mark.parametrize(
    ("values", "level", "low", "high"),
    [
        ([0.1, 0.3, -0.1, 0.4, 0.2], 0.95, -0.05883883882425964, 0.41883883882425965),
        ([0.1, 0.3, -0.1, 0.4, 0.2], 0.99, -0.21605921652939492, 0.576059216529395),
        ([0.02, 0.07], 0.95, -0.2726551184043665, 0.3626551184043665),
        ([0.02, 0.07, 0.05, 0.09, 0.03], 0.9995, -0.07998445841638983, 0.18398445841638983),
        ([0.5, 0.5, 0.5], 0.95, 0.5, 0.5),
    ],
)
def test_students_interval_is_that_of_version_0_1(values, level, low, high):
    """Recorded when the quantile was integrated numerically, with an error below 1e-6."""
    assert t_interval(values, level) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("from echorl_vl.cli import main; sys.exit(main(['compare', 'a', 'b']))", 'pip install "echorl-vl[eval]"'),
        ("import echorl_vl.evaluation.compare", "pip install 'echorl-vl[eval]'"),
        ("import echorl_vl.evidence.statistics", "pip install 'echorl-vl[eval]'"),
    ],
)
def test_without_scipy_the_error_names_the_extra(program, command):
    script = f"import sys; sys.modules['scipy'] = None; {program}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode and "scipy" in done.stderr and done.stderr.strip().endswith(command)
