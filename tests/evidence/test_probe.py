"""The probe: samples, grades and entropies of a policy, against naive ones."""

from __future__ import annotations

import pytest
import torch

from echorl_vl.evidence.experiments import steps, traces
from echorl_vl.evidence.probe import open_probe

TEST = "generated/arithmetic@test"


@pytest.fixture
def probe(setup):
    """The tiny text policy before training."""
    with open_probe(setup("data.max_response_length=72", problems=6), None) as opened:
        yield opened


def naive_entropies(policy, prompt, tokens: list[int]) -> torch.Tensor:
    """Return (l,) the entropies at the tokens, by one forward pass of plain transformers."""
    from transformers import AutoModelForCausalLM

    path = policy.network.name_or_path
    model = AutoModelForCausalLM.from_pretrained(path, torch_dtype=torch.float32).eval()
    ids = torch.cat([prompt.input_ids, torch.tensor(tokens)])[None]
    with torch.no_grad():
        logits = model(ids).logits[0, len(prompt.input_ids) - 1 : -1].double()
    return torch.distributions.Categorical(logits=logits).entropy()


@pytest.mark.slow
def test_problems_are_chosen_by_the_seed(probe):
    chosen = [[problem.uid for problem in probe.problems(TEST, seed=seed)] for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2] and len(chosen[0]) == 6
    assert len(probe.problems(TEST, limit=3)) == 3


def test_samples_depend_on_the_seed_and_are_counted_by_problem(probe):
    prompts = probe.prompts(probe.problems(TEST))
    one, same, other = (probe.sample(prompts, 3, seed, "x") for seed in (1, 1, 2))
    assert one.rollouts.texts == same.rollouts.texts != other.rollouts.texts
    counts = one.correct_counts().tolist()
    rows = one.verified.view(len(prompts), 3)
    assert counts == [int(of.sum()) for of in rows] and 0 < sum(counts) < 18
    first = zip(prompts, one.rollouts.texts[::3], strict=True)
    assert rows[:, 0].tolist() == [f"boxed{{{prompt.problem.answer}}}" in text for prompt, text in first]


def test_entropies_of_demonstrations_are_those_of_a_plain_forward_pass(probe):
    problems = probe.problems(TEST, limit=2, demonstrations=True)
    rollouts = probe.demonstrations(problems)
    for row, prompt in enumerate(probe.prompts(problems)):
        length = int(rollouts.response_mask[row].sum())
        naive = naive_entropies(probe.policy, prompt, rollouts.tokens[row, :length].tolist())
        assert torch.allclose(rollouts.entropy[row, :length].double(), naive, atol=1e-4)
        assert rollouts.texts[row].strip() == prompt.problem.extra["solution"].strip()


def test_the_rows_of_a_problem_are_pooled():
    entropy = torch.tensor([[1.0, 2.0, 3.0, 9.0], [4.0, 6.0, 9.0, 9.0], [7.0, 9.0, 9.0, 9.0]])
    steps_of = torch.tensor([[0, 0, 1, -1], [0, 1, -1, -1], [0, -1, -1, -1]])
    found = traces._by_problem(entropy, steps_of, torch.tensor([0, 0, 3]), [0, 3])
    assert found["token"] == pytest.approx([(1 + 2 + 3 + 4 + 6) / 5, 7.0])
    assert found["step"] == pytest.approx([(1.5 + 3 + 4 + 6) / 4, 7.0])


def test_solutions_end_before_the_answer(probe):
    found = steps.find_solutions(probe, 1, TEST)
    assert found
    for solution in found:
        text = probe.policy.tokenizer.decode(torch.cat(solution.steps).tolist())
        assert "\\boxed" not in text and text.endswith("\n") and len(solution.steps) >= 2
        assert len(solution.entropies) == len(solution.steps)


@pytest.mark.slow
def test_without_deletions_all_orders_have_the_same_accuracy(probe):
    found = steps.deletions(probe, 1, TEST)
    assert len({values[0] for values in found["accuracy"].values()}) == 1
    for order in steps.ORDERS:
        assert found["tokens"][order][0] == 0 and found["places"][order][0] is None
        assert found["tokens"][order] == sorted(found["tokens"][order])
