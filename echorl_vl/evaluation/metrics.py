"""Metrics of graded responses: avg@k, pass@k, majority@k, cluster-robust standard error, rates, breakdowns.

There are Q questions with n responses each; `correct` is (Q, n). Values are shares in [0, 1] unless stated otherwise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from decimal import Context, Decimal

from echorl_vl.answers.grading import value_of
from echorl_vl.answers.parse import parse
from echorl_vl.evaluation.benchmarks.base import GradedQuestion, cluster_numbers
from echorl_vl.shares import known_error

_ROUNDED = Context(prec=9)  # significant digits; Decimal, since a float would overflow


def average_at_k(correct: Sequence[Sequence[bool]]) -> float:
    """Return avg@n: the mean over questions of the share of correct responses. Raises ValueError for no questions."""
    if not correct:
        raise ValueError("no questions")
    return sum(sum(row) / len(row) for row in correct) / len(correct)


def pass_at_k(correct: Sequence[Sequence[bool]], k: int) -> float:
    """Return the unbiased estimate of pass@k: the mean over questions of 1 - C(n - c, k) / C(n, k).

    Here c of the n responses are correct. It is the probability that at least one of k responses, sampled without
    replacement, is correct (Chen et al., 2021).

    Raises:
        ValueError: k is not in 1..n for every question.
    """
    if not correct or k < 1 or any(len(row) < k for row in correct):
        raise ValueError(f"k: expected 1 to the number of responses, got {k}")
    misses = (math.comb(len(row) - sum(row), k) / math.comb(len(row), k) for row in correct)
    return 1.0 - sum(misses) / len(correct)


def majority_at_k(answers: Sequence[Sequence[str | None]], correct: Sequence[Sequence[bool]]) -> float:
    """Return majority@n: the share of questions whose most frequent answer is correct (Wang et al., 2023).

    Answers with equal `answer_key` are the same; responses without an answer don't vote. Ties are broken at random, and
    so are different verdicts on the same answer (5 and 5 cm may differ); the result is the expected value.
    """
    shares = []
    for row, verdicts in zip(answers, correct, strict=True):
        votes: dict[Hashable, list[bool]] = {}
        for answer, verdict in zip(row, verdicts, strict=True):
            if answer is not None:
                votes.setdefault(answer_key(answer), []).append(verdict)
        most = max(map(len, votes.values()), default=0)
        winners = [sum(cast) / len(cast) for cast in votes.values() if len(cast) == most]
        shares.append(sum(winners) / len(winners) if winners else 0.0)
    return sum(shares) / len(shares)


def answer_key(answer: str) -> Hashable:
    """Return a key that equal answers share: the number (x = 5 and 5 cm are 5), else the text without LaTeX markup."""
    found = value_of(answer)
    if found is None:
        return parse(answer).text.lower()
    return _ROUNDED.divide(Decimal(found.numerator), Decimal(found.denominator))


def ks(samples: int) -> list[int]:
    """Return the reported k of pass@k: powers of two up to n, and n."""
    return sorted({2**power for power in range(samples.bit_length()) if 2**power <= samples} | {samples})


def summary(graded: Sequence[GradedQuestion]) -> dict[str, float]:
    """Return the metrics that all benchmarks have. Lengths are in tokens.

    `standard_error` is that of the accuracy (avg@n), clustered by `Question.cluster`; nan for fewer than two clusters.
    """
    correct = [one.correct for one in graded]
    samples = min(map(len, correct))
    responses = sum(map(len, correct))
    accuracy = average_at_k(correct)
    metrics = {"accuracy": accuracy, "standard_error": _standard_error(graded)}
    if samples > 1:
        metrics |= {f"avg@{samples}": accuracy} | {f"pass@{k}": pass_at_k(correct, k) for k in ks(samples)}
        metrics[f"majority@{samples}"] = majority_at_k([one.answers for one in graded], correct)
    metrics["truncated"] = sum(sum(one.truncated) for one in graded) / responses
    metrics["no_answer"] = sum(answer is None for one in graded for answer in one.answers) / responses
    metrics["response_tokens"] = sum(sum(one.tokens) for one in graded) / responses
    return metrics


def breakdown(
    graded: Sequence[GradedQuestion], key: Callable[[GradedQuestion], str | None]
) -> dict[str, dict[str, float]]:
    """Return {group: {questions, accuracy, standard_error}}, sorted by group; questions without a group don't count."""
    sizes = Counter(group for one in graded if (group := key(one)) is not None)
    table = {}
    for group in sorted(sizes):
        members = [one for one in graded if key(one) == group]
        table[group] = {
            "questions": len(members),
            "accuracy": average_at_k([one.correct for one in members]),
            "standard_error": _standard_error(members),
        }
    return table


def _standard_error(graded: Sequence[GradedQuestion]) -> float:
    """Return the cluster-robust standard error of the mean accuracy (Liang and Zeger, 1986); nan for C < 2 clusters.

    It is sqrt(C / (C - 1) * sum over clusters of (sum over the cluster's questions of accuracy - mean)^2) / Q. With one
    question per cluster this is the usual standard error. If all questions have the same accuracy, such as 0 or 1, it
    would be 0; Wilson's error for C trials replaces it.
    """
    mean = sum(one.accuracy for one in graded) / len(graded)
    sums: dict[int, float] = {}
    for one, cluster in zip(graded, cluster_numbers([one.question.cluster for one in graded]), strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + one.accuracy - mean
    count = len(sums)
    if count < 2:
        return math.nan
    error = math.sqrt(count / (count - 1) * sum(value**2 for value in sums.values())) / len(graded)
    return known_error(error, mean, count)
