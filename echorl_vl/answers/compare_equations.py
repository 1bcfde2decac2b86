"""Rules for equations, names with their values, chains of values, and inequalities."""

from __future__ import annotations

from echorl_vl.answers.equality import same_equation
from echorl_vl.answers.kinds import Answer, Assignment, Chain, Equation, Inequality, Named, Reading, Value
from echorl_vl.answers.tree import Call, Expression, Variable, replace, variables
from echorl_vl.answers.verdict import Comparer, Verdict, judged


def assignments(answer: Assignment, truth: Assignment, same: Comparer) -> Verdict:
    """Names have to be the same, or both sides have to be the same equation."""
    if _same_name(answer.name, truth.name):
        return same(answer.value, truth.value)
    renamed = _with_argument_of(answer, truth)
    if renamed is not None:  # f(x) = 3x and f(t) = 3t
        return same(renamed, truth.value)
    one, other = _as_equation(answer), _as_equation(truth)
    if one and other and same_equation(one, other, same.options):
        return Verdict(True, f"{answer} is equivalent to {truth}")
    return Verdict(False, f"{answer.name} is not {truth.name}")


def _with_argument_of(answer: Assignment, truth: Assignment) -> Answer | None:
    """The value of f(t) with the variable of the truth's f(x); None if the two are no such pair.

    The argument has to be bound: in f(a) = 5 it may be a given number. P(A) is no function of a number.
    """
    match answer.left, truth.left, answer.value, truth.value:
        case (
            Call(name, (Variable() as old,), False),
            Call(other, (Variable() as new,), False),
            Value(text, (given, *_)),
            Value(_, (expected, *_)),
        ) if name == other and name[0] in "fgh":
            bound = old.name in variables(given.tree) and new.name in variables(expected.tree)
            if bound and new.name not in variables(given.tree) and old.name not in variables(expected.tree):
                tree = replace(given.tree, lambda leaf: new if leaf == old else leaf)
                return Value(f"{text} [{new.name}]", (Reading(tree),))
    return None


def _same_name(one: str, other: str) -> bool:
    return one.replace(" ", "") == other.replace(" ", "")


def _as_equation(answer: Answer) -> tuple[Expression, Expression] | None:
    if isinstance(answer, Equation):
        return answer.left, answer.right
    if isinstance(answer, Assignment) and answer.left is not None and isinstance(answer.value, Named):
        return answer.left, Variable(answer.value.name.symbol)
    if isinstance(answer, Assignment) and answer.left is not None and isinstance(answer.value, Value):
        reading = answer.value.readings[-1]
        return None if reading.unit or reading.words else (answer.left, reading.tree)
    return None


def equations(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """The differences of the sides have to be proportional."""
    one, other = _as_equation(answer), _as_equation(truth)
    return judged(bool(one and other and same_equation(one, other, same.options)), answer, truth)


def to_value(answer: Answer, truth: Assignment, same: Comparer) -> Verdict:
    """x = 5 for a truth with a name, from an answer without one."""
    return same(answer, truth.value)


def from_value(answer: Assignment, truth: Answer, same: Comparer) -> Verdict:
    """5 for a truth without a name, from an answer with one."""
    return same(answer.value, truth)


def chains(answer: Chain, truth: Answer, same: Comparer) -> Verdict:
    """Every form in the chain has to be correct."""
    expected = truth.values[0] if isinstance(truth, Chain) else truth
    verdict = Verdict(False, "an empty chain")
    for value in answer.values:
        verdict = same(value, expected)
        if not verdict:
            break
    return verdict


def to_chain(answer: Answer, truth: Chain, same: Comparer) -> Verdict:
    """One form in the chain is enough."""
    verdict = Verdict(False, "an empty chain")
    for value in truth.values:
        verdict = same(answer, value)
        if verdict:
            break
    return verdict


def inequalities(answer: Inequality, truth: Inequality, same: Comparer) -> Verdict:
    """The differences of the sides have to be proportional by a positive number."""
    sides = (answer.left, answer.right), (truth.left, truth.right)
    return judged(answer.closed == truth.closed and same_equation(*sides, same.options, positive=True), answer, truth)
