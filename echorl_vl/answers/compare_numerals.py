"""Rules for ratios, times of day and numbers in other bases."""

from __future__ import annotations

from echorl_vl.answers.compare_values import is_measured
from echorl_vl.answers.equality import Options, equal
from echorl_vl.answers.evaluate import try_exact
from echorl_vl.answers.kinds import Answer, Based, Clock, Ratio, Value
from echorl_vl.answers.tree import Product, Quotient
from echorl_vl.answers.verdict import Comparer, Verdict, judged


def ratios(answer: Ratio, truth: Ratio, same: Comparer) -> Verdict:
    """Proportional parts: 2:4:6 is 1:2:3."""
    if len(answer.parts) != len(truth.parts):
        return judged(False, answer, truth)
    firsts = answer.parts[0], truth.parts[0]
    pairs = zip(answer.parts[1:], truth.parts[1:], strict=True)
    exactly = Options(tolerance=0.0)
    correct = all(equal(Product((a, firsts[1])), Product((t, firsts[0])), exactly) for a, t in pairs) and not _has_zero(
        answer
    )
    return judged(correct, answer, truth)


def _has_zero(ratio: Ratio) -> bool:
    return any(try_exact(part) == 0 for part in ratio.parts)


def fraction(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """3/4 for 3:4, and 3:4 for 3/4. An integer is no ratio: 5:1 is not 5."""
    ratio, value = (truth, answer) if isinstance(truth, Ratio) else (answer, truth)
    assert isinstance(ratio, Ratio) and isinstance(value, Value)
    reading = value.readings[0]
    if len(ratio.parts) != 2 or is_measured(reading) or reading.words:
        return judged(False, answer, truth)
    whole = try_exact(reading.tree)
    if whole is not None and whole.denominator == 1:
        return judged(False, answer, truth)
    quotient = Quotient(*ratio.parts)
    return judged(equal(reading.tree, quotient, Options(tolerance=0.0)), answer, truth)


def clocks(answer: Clock, truth: Clock, same: Comparer) -> Verdict:
    """The same time of day: 14:00 is 2:00 p.m."""
    same = answer.seconds == truth.seconds
    if (answer.half and not truth.half) or (truth.half and not answer.half):  # 2:00 may be 2:00 pm
        same = same or (
            (answer.seconds - truth.seconds) % 43200 == 0 and _twelve_hours(truth if not truth.half else answer)
        )
    return judged(same and (not (answer.half and truth.half) or answer.half == truth.half), answer, truth)


def _twelve_hours(clock: Clock) -> bool:
    return clock.seconds < 13 * 3600


def clock_ratio(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """3:04 may be a ratio where the other side is one; as an answer it is no number."""
    if isinstance(answer, Clock) and not isinstance(truth, Ratio):
        return judged(False, answer, truth)
    sides = [side.ratio if isinstance(side, Clock) else side for side in (answer, truth)]
    return same(sides[0], sides[1]) if None not in sides else judged(False, answer, truth)


def bases(answer: Answer, truth: Answer, same: Comparer) -> Verdict:
    """Digits without a base are in the base of the truth; only base 10 may be left out of it."""
    if isinstance(answer, Based) and isinstance(truth, Based):
        return judged((answer.digits, answer.base) == (truth.digits, truth.base), answer, truth)
    based, plain = (answer, truth) if isinstance(answer, Based) else (truth, answer)
    assert isinstance(based, Based)
    return judged(
        (plain.text.lstrip("0") or "0") == based.digits and (based is truth or based.base == 10), answer, truth
    )
