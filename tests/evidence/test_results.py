"""The analysis of each experiment on made-up runs, against sums done by hand."""

from __future__ import annotations

import json
import math

import pytest

from echorl_vl.core.metric_names import ECHO_OVERLAP, ENTROPY
from echorl_vl.evaluation.folder import without_nan
from echorl_vl.evidence.experiment import Results, Table, experiment_names, find_experiments, sentence
from echorl_vl.evidence.experiments import degeneration, group_size, helps, step_choice, steps, sweep, traces
from echorl_vl.evidence.runs import Measurement, Training
from echorl_vl.evidence.statistics import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Contrast

SEEDS = (1, 2, 3, 4, 5)


class FakeStore:
    """A store with made-up measurements: value(run) -> result."""

    def __init__(self, value):
        self.result = value

    def step(self, run: Measurement) -> int:
        return 80 if "dapo" in run.training.label else 120

    def budget_used(self, run: Measurement) -> float:
        return 0.95 if "dapo" in run.training.label else 1.0

    def metrics(self, training: Training) -> list[dict]:
        shared = {"step-random": 0.25, "step-last": None}.get(training.label.split("_")[1], 0.5)
        return [{"step": step, ECHO_OVERLAP: shared, ENTROPY: 0.1 * step} for step in (1, 2)]


def by_label(values, noise=0.002):
    """Return made-up accuracies by a part of the run's label, plus noise by seed that is the same in every arm."""

    def found(run: Measurement):
        label = "before" if run.training is None else run.training.label
        value = next(value for part, value in values.items() if part in label)
        splits = run.options["splits"]
        return {split: {"accuracy": value + noise * run.seed + 0.01 * noise * (run.seed % 2)} for split in splits}

    return found


def with_arm_noise(values, noise=0.002):
    """Return accuracies as `by_label` does, with noise that differs between arms."""
    plain = by_label(values, noise)

    def found(run):
        shift = 0.0 if run.training is None or "base" in run.training.label else noise * (-1) ** run.seed
        return {split: {"accuracy": of["accuracy"] + shift} for split, of in plain(run).items()}

    return found


def test_the_sentence_states_verdict_and_numbers():
    experiment = find_experiments(["helps"])["helps"]

    def sentence_of(values):
        results = Results([Contrast("difference", values, "above")], Table((), []), {})
        return sentence(experiment, results, len(values))

    assert "is supported (mean and interval over 3 seeds: difference = 0.110 (" in sentence_of((0.1, 0.11, 0.12))
    assert "is not supported (" in sentence_of((-0.1, -0.11, -0.12))
    assert "is undecided (" in sentence_of((0.1, -0.1, 0.05))
    assert "one seed gives no interval" in sentence_of((0.1,))


@pytest.mark.parametrize(("gain", "verdict"), [(0.05, SUPPORTED), (-0.05, NOT_SUPPORTED), (0.0, UNDECIDED)])
def test_helps_compares_paired_accuracies(setup, gain, verdict):
    store = FakeStore(with_arm_noise({"base": 0.5, "kept": 0.5, "echo": 0.5 + gain, "before": 0.3}))
    results = helps.analyse(setup(seeds=SEEDS), store)
    assert results.verdict == verdict
    assert len(results.claims) == 3 * 2 and len(results.others) == 3 * 6
    for contrast in results.claims:
        parts = (
            3 / 4 if "term" in contrast.name else 1
        )  # the noise of DAPO's arm without the term is that of the one with
        expected = [gain + parts * 0.002 * (-1) ** seed for seed in SEEDS]
        assert contrast.values == pytest.approx(expected) and contrast.comparisons == 6
    names = [contrast["name"] for contrast in results.raw["contrasts"]]
    assert [name.split(":")[0] for name in names] == ["test"] * 8 + ["ood_kinds"] * 8 + ["ood_sizes"] * 8
    assert len(results.table.rows) == 3 * 9 and results.table.rows[0][:2] == ("before training", "test")
    steps = [row[2] for row in results.table.rows[:9]]
    whole, dapo = "120 (100 %) / 120 (100 %)", "80 (95 %) / 80 (95 %)"
    assert steps == ["", whole, *[dapo] * 3, whole, whole, "", ""]
    assert results.raw["steps_tested"]["dapo"] == {"without": [80] * 5, "with": [80] * 5, "sampling": [80] * 5}


def test_dapos_gain_is_the_sum_of_sampling_and_term(setup):
    store = FakeStore(with_arm_noise({"base": 0.5, "kept": 0.54, "echo": 0.55, "before": 0.3}))
    results = helps.analyse(setup(seeds=SEEDS), store)
    found = (*results.others, *results.claims)
    means = {one.name: one.interval.mean for one in found if one.name.startswith("test: ")}
    noise = sum(0.002 * (-1) ** seed for seed in SEEDS) / 5
    assert means == pytest.approx(
        {
            "test: grpo": 0.05 + noise,
            "test: dapo": 0.05 + noise,
            "test: dapo, the sampling alone": 0.04 + noise,
            "test: dapo, the term alone": 0.01,
            "test: luffy": 0.05 + noise,
            "test: uft": 0.05 + noise,
            "test: mean of the four": 0.05 + noise,
            "test: mean, the term alone": 0.04 + 0.75 * noise,
        }
    )
    assert {one.comparisons for one in results.others} == {18}


def test_the_sweep_is_corrected_for_the_number_of_variants(setup):
    of = setup(seeds=SEEDS)
    store = FakeStore(
        with_arm_noise({"base": 0.5, "echo": 0.504, "coef0.1": 0.3, "coef0.01": 0.45, "2-highest": 0.48, "": 0.5})
    )
    results = sweep.analyse(of, store)
    [claim] = results.claims
    assert claim.name == "lambda 0.001" and claim.comparisons == 14 and claim.verdict == UNDECIDED
    assert Contrast("alone", claim.values, "above").verdict == SUPPORTED
    worst = next(one for one in results.others if one.name == "lambda 0.1")
    assert worst.interval.mean == pytest.approx(-0.2, abs=0.001)
    against = next(one for one in results.others if one.name == "2 highest steps, minus lambda 0.01")
    assert against.values == pytest.approx([0.03] * 5) and against.comparisons == 8 and len(results.others) == 13 + 8
    rows = {row[0]: row for row in results.table.rows}
    assert next(iter(rows)) == "without" and len(rows) == 15 and all(len(row) == 8 for row in rows.values())
    assert rows["without"][4:] == ("0.200 (0.200 to 0.200)", "", "", "")
    assert rows["lambda 0.01, 2 highest steps"][-1].startswith("0.030 (")


def test_the_papers_step_is_compared_with_each_other_choice(setup):
    values = {"base": 0.5, "echo": 0.6, "step-random": 0.55, "step-first": 0.5, "step-last": 0.5, "step-lowest": 0.65}
    results = step_choice.analyse(setup(seeds=SEEDS), FakeStore(with_arm_noise(values, 0.0)))
    means = {one.name: one.interval.mean for one in results.claims}
    assert means == pytest.approx(
        {
            "highest minus random": 0.05,
            "highest minus first": 0.1,
            "highest minus last": 0.1,
            "highest minus lowest": -0.05,
        }
    )
    assert results.verdict == NOT_SUPPORTED
    shared = {row[0]: row[1] for row in results.table.rows}
    assert shared["random"] == "0.250 (0.250 to 0.250)" and shared["last"] == "?" and shared["highest"] == ""


@pytest.mark.parametrize(
    ("counts", "verdict"), [([64, 64, 0, 0], NOT_SUPPORTED), ([60, 61, 62, 0], SUPPORTED), ([0, 0, 0, 1], UNDECIDED)]
)
def test_group_size_compares_the_shares_at_8_and_64(setup, counts, verdict):
    def found(run):
        return {"counts": [*counts, min(64, run.seed)], "sampled": 64}

    results = group_size.analyse(setup(seeds=SEEDS), FakeStore(found))
    assert results.verdict == verdict
    eight, large = (sum(math.comb(count, n) for count in counts) / math.comb(64, n) / 5 for n in (8, 64))
    assert results.claims[0].values[0] == pytest.approx(eight / 2 - large)
    assert [row[0] for row in results.table.rows] == ["0", "1", "2"]


FINISHED = {
    "highest": [1.0, 0.8, 0.6, 0.4, 0.2],
    "lowest": [1.0, 0.9, 0.8, 0.7, 0.6],
    "random": [1.0, 0.8, 0.7, 0.5, 0.3],
}


def test_deletions_are_compared_at_equal_shares(setup):
    def found(run):
        accuracy = {order: list(values) for order, values in FINISHED.items()}
        accuracy["lowest"] = [value - 0.001 * run.seed for value in accuracy["lowest"]]
        if run.training is None:
            accuracy["highest"] = accuracy["random"]
        tokens = {order: [0.0, 0.1, 0.2, 0.3, 0.5] for order in FINISHED}
        places = {order: [None, 0.1, 0.2, 0.3, 0.5] for order in FINISHED}
        return {"accuracy": accuracy, "tokens": tokens, "places": places, "solutions": 9, "body_steps": 3.0}

    results = steps.analyse(setup(seeds=SEEDS), FakeStore(found))
    lowest, randomly = results.claims
    assert lowest.interval.mean == pytest.approx(0.25 - 0.003) and randomly.interval.mean == pytest.approx(0.075)
    assert results.verdict == SUPPORTED
    assert results.others[1].interval.mean == pytest.approx(0.0)
    assert results.table.rows[0][-2:] == ("0.28", "0.28")  # the mean over 10 to 50 %


def test_demonstrations_are_compared_with_rollouts(setup):
    def found(run):
        own = [0.1, 0.2, 0.3]
        return {
            "own": {"token": own, "step": own},
            "expert": {"token": [value + 0.1 + 0.01 * run.seed for value in own], "step": own},
            "solved": 3,
        }

    results = traces.analyse(setup(seeds=SEEDS), FakeStore(found))
    token, step = results.claims
    assert token.values == pytest.approx([0.1 + 0.01 * seed for seed in SEEDS]) and token.verdict == SUPPORTED
    assert step.verdict == UNDECIDED and results.verdict == UNDECIDED


def test_degeneration_compares_the_last_tenth_with_the_first(setup, tmp_path):
    of = setup(seeds=SEEDS)

    class Runs:
        def run_folder(self, run):
            folder = tmp_path / run.name
            if not folder.exists():
                folder.mkdir()
                echo = run.own["echo.coef"] != "0.0"
                rows = []
                for step in range(1, 41):
                    row = {
                        "step": step,
                        "group/all_success": step / 100 + 0.001 * step * int(run.own["data.seed"]),
                        "adv/zero_share": min(step / 50, 1.0),
                        "actor/grad_norm": 9.0 if echo else 1 - step / 100,
                    }
                    row |= {"actor/policy_grad_norm": 0.5, "echo/grad_norm": 0.1} if echo else {}
                    rows.append(json.dumps(row) + "\n")
                (folder / "metrics.jsonl").write_text("".join(rows))
            return folder

    results = degeneration.analyse(of, Runs())
    success, zero, norm = results.claims
    assert success.values == pytest.approx([0.36 + 0.036 * seed for seed in SEEDS])  # steps 37-40 minus 1-4
    assert zero.values == pytest.approx([0.72] * 5) and norm.values == pytest.approx([-0.36] * 5)
    assert results.verdict == SUPPORTED
    assert results.raw["with"]["policy_grad_norm"][0][0] == 0.5  # not the norm of the whole gradient
    of_others = results.raw["without"]["advantage_grad_norm"][0]
    assert of_others[9] == pytest.approx(0.9 / 0.8) and of_others[39] == pytest.approx(0.6 / 0.2)
    degeneration.draw(json.loads(json.dumps(without_nan(results.raw))), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_every_module_is_an_experiment():
    names = experiment_names()
    assert names == ["degeneration", "group_size", "helps", "step_choice", "steps", "sweep", "traces"]
    assert list(find_experiments([])) == names
