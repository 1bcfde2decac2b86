"""Which words in an answer are text, and what they say about a value."""

from __future__ import annotations

import re

from echorl_vl.answers.tokens import Token, word_set

FUNCTIONS = word_set(
    "sin cos tan sec csc cot sinh cosh tanh ln lg log exp max min gcd lcm asin acos atan acot arcsin arccos arctan "
    "arccot"
)
OPERANDS = FUNCTIONS | word_set("sqrt pi inf infty infinity")
"""Words that are part of an expression."""

NEGATIONS = word_set("not no never wrong incorrect false invalid unknown")

ANSWERS = word_set(
    "yes no odd all any red up on in out mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec"
)
"""Words of at most three letters that are answers; other letters are a product."""

FILLERS = word_set("about approximately approx exactly roughly around only total old the of is in an")
"""Words that say nothing about a value."""

SYNONYMS = {"anticlockwise": "counterclockwise", "rise": "increase", "rightwards": "right", "leftwards": "left"}
FACTORS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
"""Number words after a number."""

# Words of two or three letters that are no product of variables.
_SHORT = word_set("an and or the of is to in on at by not no yes per for if none all am th st nd rd mod deg rad up")
# Words in -s that count nothing: verbs, adverbs, parts of a whole, numbers, and opposites (a gain is not a loss).
_NOT_NOUNS = word_set(
    "times plus minus versus is was has this thus yes its as us always sometimes perhaps besides across unless whereas "
    "else afterwards upwards downwards backwards forwards towards sideways backs lefts rights ups downs halves pairs "
    "couples dozens scores tens twelves hundreds thousands millions billions trillions lakhs crores folds thirds "
    "fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths quarters percents less losses wins "
    "gains increases decreases modulus radius bis"
)
_IRREGULAR_NOUNS = word_set("people children men women mice geese teeth cattle sheep fish deer")
FUNCTION_OF = re.compile("(sin|cos|tan|log|ln)([a-z])")
"""A function and its argument without a space: sinx."""

_CAPITALS = re.compile("[A-Z]+")


def is_noun(word: str) -> bool:
    """Whether a word looks like a noun that is counted, such as apples."""
    plural = word.endswith("s") and len(word) > 3 and not word.endswith("ss")
    return (plural and word not in _NOT_NOUNS) or word in _IRREGULAR_NOUNS


def is_prose(token: Token) -> bool:
    """Whether a word is text, and no function, name or product of variables."""
    word = token.text
    if token.kind != "word" or len(word) == 1 or word in OPERANDS or FUNCTION_OF.fullmatch(word):
        return False
    if _CAPITALS.fullmatch(word):
        return False
    return token.marked or len(word) > 3 or word in _SHORT
