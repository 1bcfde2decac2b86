"""Tokens -> a value: an expression with its unit and the words around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from echorl_vl.answers.expressions import try_expression
from echorl_vl.answers.kinds import Answer, Items, Reading, Value
from echorl_vl.answers.reader import DEGREE_SIGNS
from echorl_vl.answers.tokens import Token
from echorl_vl.answers.tree import (
    DEGREE,
    PLUS_MINUS,
    Expression,
    Number,
    Product,
    negated,
    plus_minus,
    variables,
    walk,
)
from echorl_vl.answers.units import (
    SIGNS,
    SUB_DEGREES,
    TEMPERATURES,
    Suffix,
    Unit,
    quotient,
    read_suffix,
)
from echorl_vl.answers.words import FILLERS, is_prose

_DEGREES = frozenset(["deg", "degree", "degrees", "degs"])
_LONGEST_SUFFIX = 24  # tokens
_PERCENT = frozenset(["percent", "percentage", "pct"])


def read_value(tokens: Sequence[Token], text: str) -> Answer | None:
    """A `Value`, two of them for an expression with `\\pm`, or None if the tokens are none."""
    tokens = tuple(_with_signs(tokens))
    readings = tuple(_readings(tokens))
    if not readings:
        return None
    if any(sum(leaf == PLUS_MINUS for leaf in walk(one.tree)) > 1 for one in readings):
        return None  # whether two signs are the same is not certain
    split = [plus_minus(reading.tree) for reading in readings]
    if len(split[0]) == 1:
        return Value(text, readings)
    halves = []
    for index, sign in enumerate("+-"):
        trees = [trees[index] for trees in split if len(trees) == 2]
        kept = [Reading(tree, one.unit, one.nouns, one.words) for tree, one in zip(trees, readings, strict=False)]
        halves.append(Value(f"{text} [{sign}]", tuple(kept)))
    return Items(text, "", tuple(halves))


def _with_signs(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens, with signs in the place of the words degrees and percent."""
    previous = None
    for token in tokens:
        word = token.text.lower() if token.kind == "word" else ""
        if word == "cent" and previous == "per":
            yield Token("sign", "%")
        elif word == "per" and any(one.text.lower() == "cent" for one in tokens):
            pass
        elif word in _DEGREES or word in _PERCENT:
            yield Token("command", r"\degree") if word in _DEGREES else Token("sign", "%")
        else:
            yield token
        previous = word


def _readings(tokens: tuple[Token, ...]) -> Iterator[Reading]:
    """All ways to read the tokens as a value, the most likely first."""
    lead, tokens = _leading_words(tokens)
    unit, tokens = _leading_sign(tokens)
    if not tokens:
        return
    if compound := _compound(tokens):
        yield compound
        return
    if temperature := _temperature(tokens):
        yield temperature
        return
    found: list[Reading] = []
    whole = try_expression(tokens)
    if whole is not None:
        found.append(Reading(whole, unit, words=lead))
    for index in range(max(1, len(tokens) - _LONGEST_SUFFIX), len(tokens)):
        if tokens[index].kind == "number" or tokens[index].text in ("(", "{", "^", "+"):
            continue
        after = tokens[index + 1 :] if unit and tokens[index].text in ("per", "/") else ()
        suffix = read_suffix(after or tokens[index:])
        if after and suffix and suffix.unit and (tree := try_expression(tokens[:index])):  # $3 per pound
            found.append(Reading(tree, quotient(unit, suffix.unit), suffix.nouns, (*lead, *suffix.words)))
            break
        tree = try_expression(tokens[:index]) if suffix else None
        if suffix is None or tree is None or (unit and suffix.unit):
            continue
        if suffix.unit and not suffix.unit.certain and variables(tree):
            continue
        found.append(_with_suffix(tree, suffix, unit, lead))
        break
    yield from sorted(found, key=lambda reading: not (reading.unit and reading.unit.certain))


def _with_suffix(tree: Expression, suffix: Suffix, unit: Unit | None, lead: tuple[str, ...]) -> Reading:
    if suffix.factor > 1:
        tree = Product((Number(Fraction(suffix.factor)), tree))
    return Reading(tree, unit or suffix.unit, suffix.nouns, (*lead, *suffix.words))


def _leading_words(tokens: tuple[Token, ...]) -> tuple[tuple[str, ...], tuple[Token, ...]]:
    """The words before a value that say something about it (at least, gain), and the rest."""
    words: list[str] = []
    at = 0
    while at < len(tokens) and (tokens[at].text in (r"\approx", r"\sim", "~") or _is_prose(tokens[at : at + 2])):
        word = tokens[at].text.lower()
        if tokens[at].kind == "word" and word not in FILLERS and len(word) > 1:
            words.append(word)
        at += 1
    glued = at < len(tokens) and tokens[at].kind == "sign" and tokens[at].text not in ("(", "-", ".", "|", "{")
    if at == len(tokens) or (at and (glued or not (tokens[at].spaced or tokens[at - 1].marked))):  # words only, or in+5
        return (), tokens
    return tuple(words), tokens[at:]


def _is_prose(tokens: tuple[Token, ...]) -> bool:
    """Whether the first token is text; the letter a only in marked text, before another word."""
    article = tokens[0].text in ("a", "A") and tokens[0].marked and len(tokens) == 2 and is_prose(tokens[1])
    return article or is_prose(tokens[0])


def _leading_sign(tokens: tuple[Token, ...]) -> tuple[Unit | None, tuple[Token, ...]]:
    """The sign of a currency before a number, also after a minus."""
    if tokens and tokens[0].text in SIGNS and tokens[0].text not in ('"', "'"):
        return SIGNS[tokens[0].text], tokens[1:]
    if len(tokens) > 1 and tokens[0].text == "-" and tokens[1].text in SIGNS:
        return SIGNS[tokens[1].text], (tokens[0], *tokens[2:])
    return None, tokens


def _temperature(tokens: tuple[Token, ...]) -> Reading | None:
    """20 degrees Celsius or Fahrenheit."""
    scale = {"celsius": "C", "fahrenheit": "F"}.get(tokens[-1].text.lower(), tokens[-1].text)
    if scale not in TEMPERATURES:
        return None
    for sign in DEGREE_SIGNS:
        length = len(sign)
        if tuple(token.text for token in tokens[-1 - length : -1]) == sign:
            tree = try_expression(tokens[: -1 - length])
            return None if tree is None else Reading(tree, TEMPERATURES[scale])
    return None


def _compound(tokens: tuple[Token, ...]) -> Reading | None:
    """5 ft 6 in, 1 hour 30 minutes, 30° 15' 20": several numbers, each with a smaller unit than the one before."""
    negative = tokens[0].text == "-"
    numbers = [index for index, token in enumerate(tokens) if token.kind == "number"]
    starts = [
        index for index in numbers if index == negative or tokens[index - 1].text not in ("^", "{", "_", "/", "-", ".")
    ]
    if len(starts) < 2 or starts[0] != negative:
        return None
    total, units = Fraction(0), []
    for begin, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        number = try_expression(tokens[begin : begin + 1])
        after = tuple(token for token in tokens[begin + 1 : end] if token.text not in ("and", ","))
        size = _size(after, in_degrees=bool(units) and units[0][1] is None)
        if size is None or not isinstance(number, Number):
            return None
        units.append(size)
        total += number.value * size[0]
    if len({unit[1].dimension if unit[1] else None for unit in units}) > 1:
        return None
    if any(later[0] >= earlier[0] for earlier, later in pairwise(units)):
        return None
    factor, unit = units[0]
    tree: Expression = Number(total / factor)
    tree = Product((tree, DEGREE)) if unit is None else tree
    return Reading(negated(tree) if negative else tree, unit, compound=True)


def _size(tokens: tuple[Token, ...], in_degrees: bool) -> tuple[Fraction, Unit | None] | None:
    """The factor and unit after a number; None as the unit is for degrees, minutes and seconds of an angle."""
    texts = tuple(token.text for token in tokens)
    if texts in DEGREE_SIGNS:
        return Fraction(1), None
    if in_degrees:
        return (SUB_DEGREES[texts[0]], None) if len(texts) == 1 and texts[0] in SUB_DEGREES else None
    if len(texts) == 1 and texts[0] in ("'", '"'):
        return SIGNS[texts[0]].factor, SIGNS[texts[0]]
    suffix = read_suffix(tokens) if tokens else None
    if suffix is None or suffix.unit is None or suffix.nouns or suffix.words:
        return None
    return suffix.unit.factor, suffix.unit
