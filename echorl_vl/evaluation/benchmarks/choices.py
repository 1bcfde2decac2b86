"""Multiple choice: the prompt with its choices, and their order, shuffled by a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from echorl_vl.answers.choices import LETTERS
from echorl_vl.evaluation.benchmarks.base import Question

INSTRUCTION = "Answer with the letter of the right choice."

# Choices that refer to other choices, such as "both A and B": shuffling would change their meaning.
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
    """Return the prompt: the question, its lettered choices and the instruction.

    If every choice is only its own letter, the prompt says that the choices are in the image.
    """
    letters = LETTERS[: len(choices)]
    if list(letters) == [choice.strip() for choice in choices]:
        return f"{question}\nThe choices {', '.join(letters)} are in the picture. {INSTRUCTION}"
    lines = [f"({letter}) {choice.strip()}" for letter, choice in zip(letters, choices, strict=True)]
    return "\n".join([question, "Choices:", *lines, INSTRUCTION])


def shuffled_question(
    uid: str, question: str, choices: Sequence[str], correct: int, seed: int, key: str, subject: str | None = None
) -> Question:
    """Return a multiple-choice question with shuffled choices; `correct` is the index of the answer in `choices`."""
    choices, correct = shuffled(choices, correct, seed, key)
    return Question(uid, ask(question, choices), LETTERS[correct], "choice", tuple(choices), subject=subject)


def shuffled(choices: Sequence[str], correct: int, seed: int, key: str) -> tuple[list[str], int]:
    """Shuffle the choices; return them and the new index of the correct one.

    The order depends only on `seed` and `key`, so it is the same in every run and for every model. Questions with a
    choice such as "all of the above" or "both A and B" keep their order.
    """
    if any(_REFERS.search(choice.strip()) for choice in choices):
        return list(choices), correct
    order = list(range(len(choices)))
    random.Random(f"{seed}:{key}").shuffle(order)
    return [choices[index] for index in order], order.index(correct)
