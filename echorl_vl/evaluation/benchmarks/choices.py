"""Multiple choice: the choices below a question, and their seeded order."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from echorl_vl.evaluation.benchmarks.base import Question

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
INSTRUCTION = "Answer with the letter of the right choice."

# A choice that speaks of other choices has its meaning from the order: such questions stay as they are.
_REFERS = re.compile(
    r"""
      \b(?:all|none|any|both|neither|either|some)\s+(?:of\s+)?(?:the\s+)?
          (?:above|other|others|preceding|these|those|following)\b
    | \b(?:the|as|listed|mentioned|stated|given|described|shown|options?|choices?|answers?|statements?)
          \s+(?:above|below)\b
    | \b(?:above|below)\s+(?:options?|choices?|answers?|statements?)\b
    | \b(?:both|neither|either)\s+\(?[A-J]\)?\s+(?:and|n?or)\b
    | ^\(?[A-J]\)?(?:,\s*\(?[A-J]\)?)*,?\s*(?:and|or|&)\s*\(?[A-J]\)?\b
    | \b(?:choices?|options?|answers?)\s+\(?[A-J]\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def ask(question: str, choices: Sequence[str]) -> str:
    """The question, its choices with their letters, and what to answer with.

    Choices that are nothing but their own letters stand in the picture.
    """
    letters = LETTERS[: len(choices)]
    if list(letters) == [choice.strip() for choice in choices]:
        return f"{question}\nThe choices {', '.join(letters)} are in the picture. {INSTRUCTION}"
    lines = [f"({letter}) {choice.strip()}" for letter, choice in zip(letters, choices, strict=True)]
    return "\n".join([question, "Choices:", *lines, INSTRUCTION])


def shuffled_question(
    uid: str, question: str, choices: Sequence[str], correct: int, seed: int, key: str, subject: str | None = None
) -> Question:
    """A question of multiple choice in the order that `shuffled` gives; `correct` is the place of the answer."""
    choices, correct = shuffled(choices, correct, seed, key)
    return Question(uid, ask(question, choices), LETTERS[correct], "choice", tuple(choices), subject=subject)


def shuffled(choices: Sequence[str], correct: int, seed: int, key: str) -> tuple[list[str], int]:
    """(choices in the order that `seed` and `key` give, place of the correct one in it).

    The order depends on nothing but the two, so it is the same in every run and for every model. A question with a
    choice such as "all of the above" or "both A and B" keeps its order.
    """
    if any(_REFERS.search(choice.strip()) for choice in choices):
        return list(choices), correct
    order = list(range(len(choices)))
    random.Random(f"{seed}:{key}").shuffle(order)
    return [choices[index] for index in order], order.index(correct)
