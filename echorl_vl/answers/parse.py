"""The text of an answer -> one of the kinds of `kinds`. What is not understood stays a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from echorl_vl.answers import intervals, notations
from echorl_vl.answers.evaluate import OutOfRangeError
from echorl_vl.answers.expressions import NotAnExpressionError, try_expression
from echorl_vl.answers.kinds import (
    Answer,
    Assignment,
    Chain,
    Choice,
    Equation,
    Items,
    Matrix,
    Named,
    Ratio,
    Reading,
    Statement,
    Value,
    Words,
)
from echorl_vl.answers.literals import decimal_number
from echorl_vl.answers.names import NAMED, Name
from echorl_vl.answers.quantities import read_value
from echorl_vl.answers.symbols import is_vector
from echorl_vl.answers.tokens import Token, UnbalancedError, canonical, split, tokenize, word_set
from echorl_vl.answers.tree import MINUS_ONE, Call, Expression, Product, Variable, negated, variables
from echorl_vl.answers.words import NEGATIONS

MAX_ANSWER = 2000
MAX_ITEMS = 64
_MAX_DEPTH = 12
_NUMERAL = re.compile("(?=.*[IVX])[IVXLCDM]+")
_PLAIN = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")

_SYMMETRIC = word_set(r"\parallel \| // \perp \neq \iff")
_STATEMENTS = _SYMMETRIC | word_set(r"\cong \sim \in \notin \subset \subseteq \equiv \to \Rightarrow")
_SPELLING = {r"\|": r"\parallel", "//": r"\parallel"}
_EQUALS = ("=", r"\approx")
_CLOSING = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle", "{": "}"}
_BRACKETS = {"(": "(", "[": "[", r"\{": "{", r"\langle": "("}
_MATRICES = {"matrix", "pmatrix", "bmatrix", "Bmatrix", "array", "vmatrix", "smallmatrix"}


@lru_cache(maxsize=4096)
def parse(text: str) -> Answer:
    """Parse the text of an answer, without a box around it. Never raises; takes time linear in the text.

    A text of more than 2,000 characters, or whose braces are not balanced, is a text that equals only itself.
    """
    if len(text) > MAX_ANSWER:
        return Answer(text)
    if _PLAIN.fullmatch(text):  # most answers: faster than what follows, and the same
        number = decimal_number(text.removeprefix("-"))
        return Value(text, (Reading(negated(number) if text.startswith("-") else number),))
    try:
        tokens = tokenize(text)
    except UnbalancedError:
        return Answer(text)
    try:
        return parse_tokens(tokens)
    except (NotAnExpressionError, OutOfRangeError, RecursionError):
        return Answer(canonical(tokens))


def parse_tokens(tokens: Sequence[Token], depth: int = 0) -> Answer:
    """Parse tokens. The first kind that fits decides."""
    tokens = _unwrapped(tuple(tokens))
    text = canonical(tokens)
    if depth > _MAX_DEPTH or not tokens or _is_labelled(tokens):
        return Answer(text)
    for read_whole in (notations.special, notations.clock, notations.words):
        if found := read_whole(tokens, text):
            return found
    for read in (_list, _bracketed, _matrix, _set_operation, _relation):
        if found := read(tokens, text, depth):
            return found
    for read_whole in (notations.ratio, notations.based, _named):
        if found := read_whole(tokens, text):
            return found
    return _point(tokens, text, depth) or read_value(tokens, text) or Answer(text)


def _is_labelled(tokens: Sequence[Token]) -> bool:
    """Whether a letter in brackets stands before something else: (C) 5."""
    texts = [token.text for token in tokens[:4]]
    letter = len(texts) == 4 and texts[0] == "(" and texts[2] == ")" and tokens[1].kind == "word" and len(texts[1]) == 1
    return letter and texts[1].isupper() and (tokens[3].kind in ("word", "number") or texts[3] == "(")


def _unwrapped(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """The tokens without braces around all of them."""
    while len(tokens) > 1 and tokens[0].text == "{" and _closes(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _closes(tokens: Sequence[Token]) -> int | None:
    """Index of the bracket that closes the first token, whatever its kind."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.text in _CLOSING) - (token.text in _CLOSING.values())
        if not depth:
            return index
    return None


def _list(tokens: tuple[Token, ...], text: str, depth: int) -> Answer | None:
    """Items separated by commas, semicolons, "and" or "or"; inequalities form a set of numbers."""
    words = {token.text.lower() for token in tokens if _is_conjunction(token)}
    flat = [Token("sign", ",") if _is_conjunction(token) else token for token in tokens]
    separators = (";",) if len(split(tokens, (";",))) > 1 else (",",)
    parts = split(flat, separators)
    if len(parts) == 1:
        return None
    glued = [index for index, part in enumerate(parts) if not part]
    if len(parts) > MAX_ITEMS or any(index in (0, len(parts) - 1) for index in glued):
        return Answer(text)
    parsed = [parse_tokens(part, depth + 1) for part in parts if part]
    united = intervals.combined(parsed, text, words)
    if united is not None:
        return united
    if "or" in words and any(isinstance(one, Choice | Words | Named) for one in parsed):  # a hedge, or logic
        return Answer(text)
    return _named_list(Items(text, "", _flat(parsed)))


def _is_conjunction(token: Token) -> bool:
    return token.kind == "word" and token.text.lower() in ("and", "or")


def _flat(items: Sequence[Answer]) -> tuple[Answer, ...]:
    """The items, with those of `\\pm 3` in their place."""
    found: list[Answer] = []
    for item in items:
        found += item.items if isinstance(item, Items) and not item.brackets else [item]
    return tuple(found)


def _named_list(whole: Items) -> Answer:
    """x = 1, 2 and x = 1, x = 2 are a list named x."""
    first = whole.items[0]
    if not isinstance(first, Assignment):
        return whole
    names = [item.name if isinstance(item, Assignment) else None for item in whole.items]
    if all(name == first.name for name in names) or not any(names[1:]):
        values = [item.value if isinstance(item, Assignment) else item for item in whole.items]
        return Assignment(whole.text, first.name, Items(whole.text, "", _flat(values)), first.left)
    return whole


def _bracketed(tokens: tuple[Token, ...], text: str, depth: int) -> Answer | None:
    tokens = _english_brackets(tokens)
    opening = tokens[0].text
    if opening not in _BRACKETS or tokens[-1].text not in _CLOSING.values() or _closes(tokens) != len(tokens) - 1:
        return None
    inner, closing = tokens[1:-1], tokens[-1].text
    separators = (";",) if len(split(inner, (";",))) > 1 else (",",)
    parts = split(inner, separators)
    if not inner or len(parts) > MAX_ITEMS or not all(parts):
        return Answer(text)
    if opening == r"\{" and (built := intervals.set_builder(inner, text, lambda part: parse_tokens(part, depth + 1))):
        return built
    if closing != _CLOSING[opening]:
        return intervals.from_brackets(text, opening, parts, closing)
    if len(parts) == 1 and opening == "(":
        parsed = parse_tokens(inner, depth + 1)
        return None if isinstance(parsed, Value) else parsed
    items = [parse_tokens(part, depth + 1) for part in parts]
    if isinstance(items[0], Matrix) and len(items) == 1:
        return items[0]
    if opening in ("(", r"\langle") and (
        signs := [item for item in items if isinstance(item, Items) and not item.brackets]
    ):
        if len(signs) > 1:  # (\pm 1, \pm 2) may be two pairs or four
            return Answer(text)
        return Items(text, "", tuple(_pair(text, items, one) for one in signs[0].items))
    return Items(text, _BRACKETS[opening], _flat(items))


def _pair(text: str, items: Sequence[Answer], chosen: Answer) -> Items:
    """The tuple with one of the values of its \\pm."""
    return Items(f"{text} {chosen.text}", "(", tuple(chosen if isinstance(item, Items) else item for item in items))


def _english_brackets(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """[4, 9) for the French [4, 9[."""
    if len(tokens) < 5 or tokens[0].text not in ("[", "]", "(") or tokens[-1].text not in ("[", "]", ")"):
        return tokens
    first = Token("sign", "(") if tokens[0].text == "]" else tokens[0]
    last = Token("sign", ")") if tokens[-1].text == "[" else tokens[-1]
    return (first, *tokens[1:-1], last)


def _matrix(tokens: tuple[Token, ...], text: str, depth: int) -> Answer | None:
    begin = next((index for index, token in enumerate(tokens) if token.text == r"\begin"), 0)
    minus = begin == 1 and tokens[0].text == "-"
    scale = MINUS_ONE if minus else try_expression(tokens[:begin]) if begin else None  # \frac{1}{2} \begin{pmatrix}
    if begin and scale is None:
        return None
    tokens = tokens[begin:]
    if tokens[0].text != r"\begin" or len(tokens) < 9 or tokens[-4].text != r"\end":
        return None
    if tokens[2].text == "cases" and not begin:
        return _system(tokens[4:-4], text, depth)
    if tokens[2].text not in _MATRICES or (tokens[2].text == "vmatrix" and begin):
        return Answer(text)
    body = list(tokens[4:-4])
    if tokens[2].text == "array" and body and body[0].text == "{":
        body = body[(_closes(body) or 0) + 1 :]
    rows = [split(row, ("&", r"\wedge")) for row in split(body, (r"\\",)) if row]
    if len({len(row) for row in rows}) != 1 or not all(cell for row in rows for cell in row):
        return Answer(text)
    cells = tuple(tuple(_scaled(parse_tokens(cell, depth + 1), scale) for cell in row) for row in rows)
    return Matrix(text, cells, tokens[2].text == "vmatrix")


def _system(tokens: Sequence[Token], text: str, depth: int) -> Answer:
    """A system of equations; a function by cases, and a system of inequalities, stay a text."""
    rows = [row for row in split(tokens, (r"\\",)) if row]
    parsed = [parse_tokens(row, depth + 1) for row in rows]
    equations = all(isinstance(one, Assignment | Equation) for one in parsed) and r"&" not in {
        one.text for one in tokens
    }
    return _named_list(Items(text, "", tuple(parsed))) if equations else Answer(text)


def _scaled(cell: Answer, scale: Expression | None) -> Answer:
    if scale is None or not isinstance(cell, Value):
        return cell
    return Value(f"scaled {cell.text}", tuple(Reading(Product((scale, one.tree))) for one in cell.readings))


def _set_operation(tokens: tuple[Token, ...], text: str, depth: int) -> Answer | None:
    if len(split(tokens, _EQUALS)) > 1:  # x = (0, 1) \\cup (2, 3)
        return None
    return intervals.set_operation(tokens, text, lambda part: parse_tokens(part, depth + 1))


def _relation(tokens: tuple[Token, ...], text: str, depth: int) -> Answer | None:
    if len(split(tokens, tuple(_STATEMENTS))) == 2 and len(split(tokens, (*_EQUALS, *intervals.ORDER))) == 1:
        return _statement(tokens, text, depth)
    if len(split(tokens, intervals.ORDER)) > 1:
        return intervals.inequality(tokens, text)
    parts = split(tokens, _EQUALS)
    if len(parts) == 1:
        return None
    if not all(parts[1:]):
        return Answer(text)
    if not parts[0]:  # \approx 5.2
        return parse_tokens(parts[1], depth + 1) if len(parts) == 2 else Answer(text)
    name, left = _name_of(parts[0])
    if not name and len(parts) == 2 and left is not None and not variables(left):  # 8 = x
        turned, right = _name_of(parts[1])
        if turned:
            return Assignment(text, turned, parse_tokens(parts[0], depth + 1), right)
    values = [parse_tokens(part, depth + 1) for part in parts[1:]]
    if name:
        value = values[0] if len(values) == 1 else Chain(text, tuple(values))
        return Assignment(text, name, value, left)
    sides = [try_expression(part) for part in parts]
    if left is None or None in sides:
        first = parse_tokens(parts[0], depth + 1)
        if len(values) == 1 and type(first) is type(values[0]) and _is_unknown(first):  # (x, y) = (3, 5), x : y = 3 : 5
            return Assignment(text, first.text, values[0])
        return Chain(text, (first, *values)) if isinstance(first, Value) and not _has_variables(first) else Answer(text)
    if not any(variables(side) for side in sides if side is not None):
        return Chain(text, (parse_tokens(parts[0], depth + 1), *values))
    return Equation(text, left, sides[1]) if len(sides) == 2 else Answer(text)


def _is_unknown(answer: Answer) -> bool:
    """Whether a tuple or ratio has names in all of its parts."""
    if isinstance(answer, Ratio):
        return all(variables(part) for part in answer.parts)
    return isinstance(answer, Items) and all(
        isinstance(item, Named | Choice) or (isinstance(item, Value) and _has_variables(item)) for item in answer.items
    )


def _has_variables(value: Value) -> bool:
    return all(variables(reading.tree) for reading in value.readings)


def _statement(tokens: tuple[Token, ...], text: str, depth: int) -> Answer | None:
    sign = next(token.text for token in tokens if token.text in _STATEMENTS)
    left, right = split(tokens, (sign,)) if len(split(tokens, (sign,))) == 2 else ((), ())
    if not left or not right:
        return Answer(text)
    if sign == r"\in" and len(left) == 1:  # x \in [2, 3], x \in \{1, 2\}
        inside = parse_tokens(right, depth + 1)
        if isinstance(inside, Items) and inside.brackets == "{":
            return Assignment(text, left[0].text, inside)
        return intervals.named(inside, left[0].text, text)
    if sign == r"\neq" and (unequal := intervals.unequal(left, right, text)):
        return unequal
    sides = parse_tokens(left, depth + 1), parse_tokens(right, depth + 1)
    return Statement(text, _SPELLING.get(sign, sign), *sides, sign in _SYMMETRIC)


def _name_of(tokens: tuple[Token, ...]) -> tuple[str, Expression | None]:
    """The name before "=", empty if it is an expression; and the expression, if it is one."""
    left = try_expression(_without_measure(tokens))
    if isinstance(left, Variable):
        return left.name, left
    if isinstance(left, Call) and not left.known:
        return canonical(tokens), left
    if left is None and all(token.kind == "word" for token in tokens) and any(len(token.text) > 1 for token in tokens):
        denied = any(token.text.lower() in NEGATIONS for token in tokens)
        return "" if denied else canonical(tokens).lower(), left
    return canonical(tokens) if left is not None and _is_measure(left) else "", left


def _is_measure(left: Expression) -> bool:
    """Whether an expression is a name for a number: the sine of an angle of a figure, the length of a vector."""
    if not isinstance(left, Call) or left.name not in ("sin", "cos", "tan", "abs"):
        return False
    [inside] = left.arguments
    figure = isinstance(inside, Variable) and (inside.name[0].isupper() or " " in inside.name or len(inside.name) > 2)
    return is_vector(inside) if left.name == "abs" else figure


def _without_measure(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """m\\angle ABC is the measure of the angle."""
    return tokens[1:] if len(tokens) > 2 and tokens[0].text == "m" and tokens[1].text == r"\angle" else tokens


def _named(tokens: tuple[Token, ...], text: str) -> Answer | None:
    tree = try_expression(_without_measure(tokens))
    written = "".join(token.text for token in tokens if token.text not in ("{", "}", "^") and token.kind != "command")
    points = _points(written)
    if tokens[0].kind == "word" and tokens[0].text.lower() in NAMED and len(tokens) > 1:
        rest = try_expression(tokens[1:])
        points = _points(written.removeprefix(tokens[0].text))
        if isinstance(rest, Variable) and points:
            return Named(text, Name(NAMED[tokens[0].text.lower()], points))
        return Words(text.lower()) if all(token.kind == "word" for token in tokens) else None
    if not isinstance(tree, Variable) or not points:
        return None
    kind = "segment" if any(token.text == r"\overline" for token in tokens) else tree.name.rpartition(" ")[0]
    if kind and kind not in NAMED.values():
        return None
    if not kind and (_NUMERAL.fullmatch(written) or set(written) == {"H", "T"}):  # IV, or two tosses of a coin
        return Words(written)
    return Named(text, Name(kind, points)) if kind or len(points) > 1 else None


def _points(name: str) -> tuple[str, ...]:
    """The letters of a name with their primes and indices; empty if it has something else."""
    found = re.findall(r"[A-Z#](?:'|_\w|\d)*", name)
    return tuple(found) if "".join(found) == name else ()


def _point(tokens: tuple[Token, ...], text: str, depth: int) -> Answer | None:
    """A(2, 3): a point with its coordinates."""
    opening = next((index for index, token in enumerate(tokens) if token.text == "("), 0)
    if not 0 < opening < 4 or tokens[0].kind != "word" or not tokens[0].text.isupper():
        return None
    inside = _bracketed(tokens[opening:], canonical(tokens[opening:]), depth)
    if not isinstance(inside, Items) or len(inside.items) < 2:
        return None
    return Assignment(text, canonical(tokens[:opening]), inside)
