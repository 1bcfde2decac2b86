"""Normalize an answer: no LaTeX formatting, one spelling for each sign, the unit split from the number."""

from __future__ import annotations

import re

_CHARACTERS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": "*",
        "·": "*",
        "∗": "*",
        "÷": "/",
        "π": " \\pi ",
        "√": " sqrt ",  # the character applies to the whole number after it, unlike TeX's command
        "²": "^2",
        "³": "^3",
        "°": "^\\circ ",
        "º": "^\\circ ",
        "≈": "\\approx ",
        "∠": "\\angle ",
        "\u00a0": " ",
        "\u2009": " ",
        "\n": " ",
        "\t": " ",
        "\r": " ",
    }
)
_THIN_THOUSANDS = re.compile(r"(?<=[0-9])(?:\\,|\\!|\{,\}|,\\!)(?=[0-9]{3}(?![0-9]))")
_COMMA_THOUSANDS = re.compile(r"(?<![\d.,(\[])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_SPACES = re.compile(r"(?<!\\)\\[,;:!> ]|~|\\q?quad(?![A-Za-z])|\s+")
_DRESSING = re.compile(r"\\(?:left|right|displaystyle|textstyle|limits|bigl?|bigr|Bigl?|Bigr)(?![A-Za-z])")
_MATH_MODE = re.compile(r"\\?\$|\\[()\[\]]")
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textup|mbox|mathrm|mathbf|mathit|mathsf|rm|bf|bm)\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"
)
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")

_UNITS = {
    "mm": "millimet(?:er|re)s?|mm",
    "cm": "centimet(?:er|re)s?|cm",
    "km": "kilomet(?:er|re)s?|km",
    "m": "met(?:er|re)s?|m",
    "in": "inch(?:es)?|in",
    "ft": "foot|feet|ft",
    "yd": "yards?|yds?",
    "mi": "miles?|mi",
    "": "units?",
}
_UNIT = re.compile(
    r"(?<![A-Za-z\\_])(?:(?P<before>square|sq\.?|cubic|cu\.?)\s*)?(?:"
    + "|".join(f"(?P<u{index}>{names})" for index, names in enumerate(_UNITS.values()))
    + r")\.?(?:\s*\^\s*\{?\s*(?P<power>[23])\s*\}?|\s+(?P<after>squared|cubed))?$"
)
_DEGREE = re.compile(r"(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree|(?<![A-Za-z\\_])deg(?:rees?)?|\\?%)$")
_POWERS = {"2": 2, "3": 3, "square": 2, "sq": 2, "sq.": 2, "squared": 2, "cubic": 3, "cu": 3, "cu.": 3, "cubed": 3}


def plain(text: str) -> str:
    """`text` without dollar signs, \\left, \\text, spacing commands, thousands separators and final punctuation.

    The meaning is unchanged: two numbers are never joined, and no operator is dropped.
    """
    text = text.translate(_CHARACTERS)
    text = _THIN_THOUSANDS.sub("", text)
    text = _MATH_MODE.sub(" ", text)
    text = _DRESSING.sub(" ", text)
    for _ in range(2):
        text = _WRAPPED.sub(r" \1 ", text)
    text = _FRACTION.sub(r"\\frac", text)
    text = _COMMA_THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = _SPACES.sub(" ", text)
    return " ".join(text.split()).rstrip(" .,;:").strip()


def split_unit(text: str) -> tuple[str, str | None]:
    """Split the unit off a plain text: `12 square cm` gives `("12", "cm^2")`, `12` gives `("12", None)`.

    Degrees are `deg`, percent is `%`. The word `units` names no unit, so it counts as None.
    """
    match = _DEGREE.search(text)
    if match:
        return text[: match.start()].rstrip(), "%" if match[0].endswith("%") else "deg"
    match = _UNIT.search(text)
    if match is None:
        return text, None
    name = next(unit for index, unit in enumerate(_UNITS) if match[f"u{index}"])
    power = next((_POWERS[word] for word in match.group("before", "power", "after") if word), 1)
    unit = None if not name else name if power == 1 else f"{name}^{power}"
    return text[: match.start()].rstrip(), unit


def squash(text: str) -> str:
    """A plain text without meaningless white space, to compare texts exactly.

    White space between two numbers or two words is kept: `1 2` is not `12`.
    """
    text = re.sub(r"(?<=[^\w\s])\s+|\s+(?=[^\w\s])", "", text)
    text = re.sub(r"(?<=[0-9])\s+(?=[A-Za-z])", "", text)
    return re.sub(r"\^\{(\w)\}", r"^\1", text)
