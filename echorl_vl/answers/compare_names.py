"""Rules for names, words, choices and statements about geometric objects."""

from __future__ import annotations

from echorl_vl.answers.kinds import Answer, Choice, Items, Named, Statement
from echorl_vl.answers.verdict import Comparer, Verdict, judged


def named(answer: Named, truth: Named, same: Comparer) -> Verdict:
    """Two spellings of one object, such as AB and BA."""
    return judged(answer.name.same(truth.name), answer, truth)


def words(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """The same words, whatever their case."""
    same = answer.text.lower().replace(" ", "") == truth.text.lower().replace(" ", "")
    return judged(same and not isinstance(answer, Choice) and not isinstance(truth, Choice), answer, truth)


def choices(answer: Choice, truth: Choice, same: Comparer) -> Verdict:
    """The same letter."""
    return judged(answer.letter == truth.letter, answer, truth)


def letters(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """Several choices, as a list or as one word: A, C, D and ACD."""
    name, items = (answer, truth) if isinstance(answer, Named) else (truth, answer)
    assert isinstance(name, Named) and isinstance(items, Items)
    letters = [item.letter for item in items.items if isinstance(item, Choice)]
    same = not name.name.kind and len(letters) == len(items.items) and sorted(letters) == sorted(name.name.points)
    return judged(same, answer, truth)


def point(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """Point E and E."""
    name, letter = (answer, truth) if isinstance(answer, Named) else (truth, answer)
    assert isinstance(name, Named) and isinstance(letter, Choice)
    return judged(name.name.kind == "point" and name.name.points == (letter.letter,), answer, truth)


def statements(answer: Statement, truth: Statement, same: Comparer) -> Verdict:
    """The same relation between the same objects."""
    if answer.relation != truth.relation:
        return judged(False, answer, truth)
    corners = [_correspondence(one) for one in (answer, truth)]
    if None not in corners:
        return judged(corners[0] == corners[1], answer, truth)
    orders = [(truth.left, truth.right), *([(truth.right, truth.left)] if truth.symmetric else [])]
    correct = any(same(answer.left, left) and same(answer.right, right) for left, right in orders)
    return judged(correct, answer, truth)


def _correspondence(statement: Statement) -> set[frozenset[str]] | None:
    """Which corners of two polygons correspond: ABC ~ DEF is CBA ~ FED, not ABC ~ DFE. None for other statements."""
    sides = [side.name.points for side in (statement.left, statement.right) if isinstance(side, Named)]
    if statement.symmetric or len(sides) != 2 or len(sides[0]) != len(sides[1]) or len(sides[0]) < 3:
        return None
    return {frozenset(pair) for pair in zip(*sides, strict=True)}
