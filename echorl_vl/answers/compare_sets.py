"""Rules for tuples, lists, sets, intervals, matrices and vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

from echorl_vl.answers.equality import equal
from echorl_vl.answers.intervals import as_intervals, sorted_parts
from echorl_vl.answers.kinds import Answer, Assignment, Interval, Items, Matrix, Reading, Value, Words
from echorl_vl.answers.tree import Constant, Expression, Number, Variable, has, replace
from echorl_vl.answers.verdict import Comparer, Verdict, judged

_INFINITY = Constant("inf")


def items(answer: Items, truth: Items, same: Comparer) -> Verdict:
    """Tuples in order, sets and lists without brackets in any order."""
    if len(answer.items) != len(truth.items):
        if len(truth.items) == 1 or len(answer.items) == 1:
            return single(answer, truth, same)
        return Verdict(False, f"expected {len(truth.items)} parts, got {len(answer.items)}")
    brackets = {answer.brackets, truth.brackets}
    listed = brackets <= {"(", "["} or brackets == {"", "["}
    if (len(answer.items) > 2 and listed) or brackets == {"("} or brackets == {"["}:
        return _in_order(answer.items, truth.items, same)
    if brackets <= {"", "{"}:
        return _unordered(answer, truth, same)
    if "(" in brackets and _names(answer) | _names(truth):  # x = 3, y = 5 and (3, 5)
        sides = [_by_name(side) if _names(side) else side.items for side in (answer, truth)]
        if None not in sides:
            return _in_order(sides[0], sides[1], same)
    return Verdict(False, f"expected {truth}, got {answer}: other brackets")


def _names(items: Items) -> set[str]:
    return {item.name for item in items.items if isinstance(item, Assignment) and item.left is not None}


def _by_name(items: Items) -> list[Answer] | None:
    """Assignments to different names in the order of the alphabet, which is that of coordinates."""
    named = [item for item in items.items if isinstance(item, Assignment)]
    if len(named) != len(items.items) or len({item.name for item in named}) != len(named):
        return None
    return sorted(named, key=lambda item: item.name)


def _in_order(answers: Sequence[Answer], truths: Sequence[Answer], same: Comparer) -> Verdict:
    for index, (answer, truth) in enumerate(zip(answers, truths, strict=True), start=1):
        verdict = same(answer, truth)
        if not verdict:
            return Verdict(False, f"part {index}: {verdict.reason}")
    return Verdict(True, "all parts are correct")


def _unordered(answer: Items, truth: Items, same: Comparer) -> Verdict:
    if bool(_names(answer)) != bool(_names(truth)):  # a = 1, b = 2 and 1, 2: in the order of the names
        sides = [_by_name(side) if _names(side) else side.items for side in (answer, truth)]
        return _in_order(sides[0], sides[1], same) if None not in sides else judged(False, answer, truth)
    correct = matched(len(answer.items), len(truth.items), lambda a, t: bool(same(answer.items[a], truth.items[t])))
    return Verdict(correct, "all parts are correct" if correct else f"expected {truth}, got {answer}")


def matched(answers: int, truths: int, fits: Callable[[int, int], bool]) -> bool:
    """Whether all answers match the truths one to one, in any order (bipartite matching by augmenting paths)."""
    fits = cache(fits)
    owner: dict[int, int] = {}  # truth -> its answer

    def match(answer: int, tried: set[int]) -> bool:
        """Match an answer, and move the answers matched before if necessary."""
        for truth in range(truths):
            if truth not in tried and fits(answer, truth):
                tried.add(truth)
                if truth not in owner or match(owner[truth], tried):
                    owner[truth] = answer
                    return True
        return False

    return answers == truths and all(match(answer, set()) for answer in range(answers))


def single(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """One item in brackets is the item: {5} is 5."""
    one, other = _unpacked(answer), _unpacked(truth)
    if one is answer and other is truth:
        return Verdict(False, f"expected {truth}, got {answer}")
    return same(one, other)


def _unpacked(answer: Answer) -> Answer:
    single = isinstance(answer, Items) and len(answer.items) == 1 and not isinstance(answer.items[0], Words)
    return answer.items[0] if single else answer


def intervals(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """The same ends, open or closed."""
    one, other = as_intervals(answer), as_intervals(truth)
    if one is None or other is None or (one.variable and other.variable and one.variable != other.variable):
        return judged(False, answer, truth)
    parts = sorted_parts(one.parts), sorted_parts(other.parts)
    correct = len(parts[0]) == len(parts[1]) and all(_same_interval(a, t, same) for a, t in zip(*parts, strict=True))
    return judged(correct, answer, truth)


def _same_interval(a: Interval, t: Interval, same: Comparer) -> bool:
    if (a.low_closed, a.high_closed) != (t.low_closed, t.high_closed):
        return False
    return all(_same_end(*ends, same) for ends in ((a.low, t.low), (a.high, t.high)))


def _same_end(a: Expression, t: Expression, same: Comparer) -> bool:
    if has(a, _INFINITY) or has(t, _INFINITY):
        return a == t
    return equal(a, t, same.options)


def matrices(answer: Matrix, truth: Matrix, same: Comparer) -> Verdict:
    """The same shape and the same cells."""
    shapes = [(len(one.rows), len(one.rows[0]), one.determinant) for one in (answer, truth)]
    if shapes[0] != shapes[1]:
        return judged(False, answer, truth)
    return _in_order([cell for row in answer.rows for cell in row], [cell for row in truth.rows for cell in row], same)


def vector(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """A matrix of one row or column against a tuple."""
    nested = [_nested(one) for one in (answer, truth)]
    if None not in nested:
        return matrices(nested[0], nested[1], same)
    cells = [_cells(one) for one in (answer, truth)]
    if None in cells or len(cells[0]) != len(cells[1]):
        return judged(False, answer, truth)
    return _in_order(cells[0], cells[1], same)


def _nested(answer: Answer) -> Matrix | None:
    """A matrix, also one that is written as a list of lists: [[1, 2], [3, 4]]."""
    if isinstance(answer, Matrix):
        return answer
    rows = (
        [item.items for item in answer.items if isinstance(item, Items) and item.brackets == "["]
        if isinstance(answer, Items)
        else []
    )
    lists = isinstance(answer, Items) and len(rows) == len(answer.items) and len({len(row) for row in rows}) == 1
    return Matrix(answer.text, tuple(rows)) if lists else None


def _cells(answer: Answer) -> Sequence[Answer] | None:
    if isinstance(answer, Items):
        return answer.items if answer.brackets == "(" else None
    assert isinstance(answer, Matrix)
    if answer.determinant or (len(answer.rows) > 1 and len(answer.rows[0]) > 1):
        return None
    return [cell for row in answer.rows for cell in row]


def components(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """4i - 7j in unit vectors against (4, -7)."""
    value, other = (answer, truth) if isinstance(answer, Value) else (truth, answer)
    assert isinstance(value, Value)
    tree = value.readings[0].tree
    basis = [Variable(f"basis {name}") for name in "ijk"]
    cells = _cells(other)
    if cells is None or not 2 <= len(cells) <= 3 or not any(has(tree, one) for one in basis[: len(cells)]):
        return single(answer, truth, same)
    parts = [
        Value(f"{one.name} of {value.text}", (Reading(replace(tree, lambda leaf, one=one: _unit(leaf, one, basis))),))
        for one in basis[: len(cells)]
    ]
    sides = (parts, cells) if value is answer else (cells, parts)
    return _in_order(*sides, same)


def _unit(leaf: Expression, one: Variable, basis: Sequence[Variable]) -> Expression:
    return Number(Fraction(leaf == one)) if leaf in basis else leaf
