"""The kinds of arithmetic problems, and which of them are in the training split."""

from __future__ import annotations

import random
from collections.abc import Callable

from echorl_vl.generators.arithmetic.problem import (
    LARGE_SIZE,
    SIZE,
    ArithmeticProblem,
    Sketch,
    calculate,
    largest_number,
)
from echorl_vl.generators.splits import with_distinct_answers

NAMES = ("Mia", "Tom", "Ana", "Leo", "Sam", "Eva")
THINGS = ("apples", "pens", "shells", "cards", "coins", "nuts")


def bags(rng: random.Random) -> Sketch:
    """Bags of things are bought and some things are given away."""
    a, b, c, d = rng.randint(3, 40), rng.randint(2, 8), rng.randint(2, 9), rng.randint(2, 20)
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    question = f"{name} has {a} {things}, buys {b} bags of {c} and gives away {d}. How many are left?"
    approaches = (
        calculate("Each bag is full", (b, "*", c), (a, "+", "last"), ("last", "-", d)),
        calculate("Count a bag as one", (a, "+", b), ("last", "-", d)),
        calculate("Nothing is given away", (b, "*", c), (a, "+", "last")),
        calculate("Only the bags count", (b, "*", c), ("last", "-", d)),
    )
    return Sketch(question, (a, b, c, d), approaches)


def brackets(rng: random.Random) -> Sketch:
    """A sum with a product and brackets."""
    a, b, d = rng.randint(2, 40), rng.randint(2, 9), rng.randint(2, 12)
    c = d + rng.randint(2, 9)
    question = rng.choice((f"Compute {a} + {b} * ({c} - {d}).", f"What is {a} + {b} * ({c} - {d})?"))
    approaches = (
        calculate("Brackets come first", (c, "-", d), (b, "*", "last"), (a, "+", "last")),
        calculate("Go from left to right", (a, "+", b), ("last", "*", c), ("last", "-", d)),
        calculate("Leave the brackets out", (b, "*", c), (a, "+", "last"), ("last", "-", d)),
        calculate("Add all of it", (c, "-", d), (b, "+", "last"), (a, "+", "last")),
    )
    return Sketch(question, (a, b, c, d), approaches)


def precedence(rng: random.Random) -> Sketch:
    """A product that is added to a number or subtracted from it."""
    a, b, c, sign = rng.randint(2, 80), rng.randint(2, 9), rng.randint(2, 9), rng.choice("+-")
    question = rng.choice((f"Compute {a} {sign} {b} * {c}.", f"What is {a} {sign} {b} * {c}?"))
    approaches = (
        calculate("Products come first", (b, "*", c), (a, sign, "last")),
        calculate("Go from left to right", (a, sign, b), ("last", "*", c)),
        calculate("One after the other", (a, sign, b), ("last", sign, c)),
    )
    return Sketch(question, (a, b, c), approaches, form=sign)


def remainder(rng: random.Random) -> Sketch:
    """Boxes are filled with things; some are left over."""
    boxes, b = rng.randint(2, 9), rng.randint(2, 9)
    a = b * boxes + rng.randint(1, 20)
    things = rng.choice(THINGS)
    question = rng.choice(
        (
            f"{a} {things} fill {boxes} boxes of {b}. How many are left over?",
            f"There are {a} {things}. {boxes} boxes take {b} each. How many are not in a box?",
        )
    )
    approaches = (
        calculate("Take all boxes away", (boxes, "*", b), (a, "-", "last")),
        calculate("Only one box is filled", (a, "-", b)),
        calculate("A box takes one", (a, "-", boxes)),
        calculate("Count what is in boxes", (boxes, "*", b)),
    )
    return Sketch(question, (a, boxes, b), approaches)


def discount(rng: random.Random) -> Sketch:
    """The sum of two prices, one with a discount."""
    percent, part = rng.choice(((10, 10), (20, 5), (25, 4), (50, 2)))
    a, b = part * rng.randint(2, LARGE_SIZE // part), rng.randint(2, 40)
    thing, other = rng.sample(("bag", "book", "lamp", "game"), 2)
    question = f"A {thing} of {a} dollars is {percent}% off. A {other} costs {b} dollars. What do both cost?"
    approaches = (
        calculate("Take the part off", (a, "/", part), (a, "-", "last"), ("last", "+", b)),
        calculate("The part is the price", (a, "/", part), ("last", "+", b)),
        calculate("Percent are dollars", (a, "-", percent), ("last", "+", b)),
        calculate("Nothing is off", (a, "+", b)),
    )
    return Sketch(question, (a, percent, b), approaches)


def average(rng: random.Random) -> Sketch:
    """The average of three numbers."""
    a, b, c = (rng.randint(2, 33) for _ in range(3))
    question = rng.choice((f"Find the average of {a}, {b} and {c}.", f"What is the mean of {a}, {b} and {c}?"))
    approaches = (
        calculate("Share the sum among 3", (a, "+", b), ("last", "+", c), ("last", "/", 3)),
        calculate("Only the sum counts", (a, "+", b), ("last", "+", c)),
        calculate("Halve the sum", (a, "+", b), ("last", "+", c), ("last", "/", 2)),
    )
    return Sketch(question, (a, b, c), approaches)


def sequence(rng: random.Random) -> Sketch:
    """The next number of a sequence with a fixed difference."""
    a, d = rng.randint(1, 50), rng.randint(2, 16)
    b, last = a + d, a + 2 * d
    question = rng.choice((f"What comes next: {a}, {b}, {last}?", f"Continue with one number: {a}, {b}, {last}."))
    approaches = (
        calculate("Add the difference", (last, "-", b), (last, "+", "last")),
        calculate("Double the difference", (last, "-", b), ("last", "*", 2), (last, "+", "last")),
        calculate("The first one comes again", (last, "+", a)),
    )
    return Sketch(question, (a, d), approaches)


def units(rng: random.Random) -> Sketch:
    """A length or time in two units is converted to the smaller unit."""
    small, large, factor = rng.choice(
        (("days", "weeks", 7), ("inches", "feet", 12), ("feet", "yards", 3), ("quarts", "gallons", 4))
    )
    a, b = rng.randint(2, 20), rng.randint(1, 20)
    question = rng.choice(
        (f"How many {small} are {a} {large} and {b} {small}?", f"Give {a} {large} and {b} {small} in {small}.")
    )
    approaches = (
        calculate(f"Turn the {large} into {small}", (a, "*", factor), ("last", "+", b)),
        calculate("Add the two", (a, "+", b)),
        calculate("Ten make one", (a, "*", 10), ("last", "+", b)),
        calculate(f"Only the {large} count", (a, "*", factor)),
    )
    return Sketch(question, (a, b), approaches, form=large)


def share(rng: random.Random) -> Sketch:
    """Two sets of things are shared among friends."""
    friends, each = rng.randint(2, 9), rng.randint(2, 15)
    a = rng.randint(1, friends * each - 1)
    b = friends * each - a
    things, others = rng.sample(THINGS, 2)
    question = f"{friends} friends share {a} {things} and {b} {others}. How many pieces does each friend get?"
    approaches = (
        calculate("Put both together and share", (a, "+", b), ("last", "/", friends)),
        calculate("Give each friend all", (a, "+", b)),
        calculate(f"Share only the {things}", (a, "/", friends)),
        calculate("Take the friends away", (a, "+", b), ("last", "-", friends)),
    )
    return Sketch(question, (friends, a, b), approaches)


def change(rng: random.Random) -> Sketch:
    """The change after a purchase."""
    a, b, rest = rng.randint(2, 9), rng.randint(2, 12), rng.randint(1, 30)
    c = a * b + rest
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    question = f"{name} buys {a} {things} at {b} dollars each and pays with {c} dollars. How much change is due?"
    approaches = (
        calculate("Take the cost away", (a, "*", b), (c, "-", "last")),
        calculate("The cost is the change", (a, "*", b)),
        calculate("Only one is paid for", (c, "-", b)),
        calculate("Take both numbers away", (c, "-", a), ("last", "-", b)),
    )
    return Sketch(question, (a, b, c), approaches)


def rate(rng: random.Random) -> Sketch:
    """The distance walked in some hours, given the distance in other hours."""
    pace, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 12)
    a, name = pace * b, rng.choice(NAMES)
    question = f"{name} walks {a} miles in {b} hours. How many miles are that in {c} hours?"
    approaches = (
        calculate("Find the miles of one hour", (a, "/", b), ("last", "*", c)),
        calculate("Add the other hours", (c, "-", b), (a, "+", "last")),
        calculate("Every hour has all miles", (a, "*", c)),
        calculate("The pace is enough", (a, "/", b)),
    )
    return Sketch(question, (a, b, c), approaches)


def ages(rng: random.Random) -> Sketch:
    """The sum of two ages, given one age and their difference."""
    a, b = rng.randint(2, 40), rng.randint(2, 20)
    name, other = rng.sample(NAMES, 2)
    question = f"{name} is {a} years old. {other} is {b} years older. How old are both together?"
    approaches = (
        calculate(f"Find the age of {other}", (a, "+", b), (a, "+", "last")),
        calculate("Add the two numbers", (a, "+", b)),
        calculate("Older means less", (a, "-", b), (a, "+", "last")),
    )
    return Sketch(question, (a, b), approaches)


def unknown(rng: random.Random) -> Sketch:
    """A number, given the result of a multiplication and an addition."""
    x, a, b = rng.randint(2, 12), rng.randint(2, 9), rng.randint(2, 40)
    c = a * x + b
    question = f"A number times {a} plus {b} is {c}. What is the number?"
    approaches = (
        calculate("Undo the sum and the product", (c, "-", b), ("last", "/", a)),
        calculate("Undo only the sum", (c, "-", b)),
        calculate("Take both numbers away", (c, "-", b), ("last", "-", a)),
    )
    return Sketch(question, (a, b, c), approaches)


def fence(rng: random.Random) -> Sketch:
    """The perimeter of a garden, given its sides."""
    a, b = rng.randint(2, 30), rng.randint(2, 19)
    question = f"A garden is {a} feet long and {b} feet wide. How long is the fence around it?"
    approaches = (
        calculate("A fence has four sides", (a, "+", b), ("last", "*", 2)),
        calculate("A fence has two sides", (a, "+", b)),
        calculate("The fence is the area", (a, "*", b)),
    )
    return Sketch(question, (a, b), approaches)


TRAIN_KINDS: dict[str, Callable[[random.Random], Sketch]] = {
    make.__name__: make
    for make in (bags, brackets, precedence, remainder, discount, average, sequence, units, share, change)
}
"""Kinds in the training split."""

OOD_KINDS: dict[str, Callable[[random.Random], Sketch]] = {make.__name__: make for make in (rate, ages, unknown, fence)}
"""Kinds that are not in the training split. The warm start includes them, mostly with incorrect solutions."""

KINDS = TRAIN_KINDS | OOD_KINDS


def draw_problem(kind: str, rng: random.Random) -> ArithmeticProblem:
    """Generate a problem with at least one incorrect approach whose answer differs from the correct one.

    Raises:
        KeyError: the kind does not exist.
    """
    make = KINDS[kind]
    while True:
        sketch = make(rng)
        correct = sketch.approaches[0]
        if correct is None:
            continue
        size = largest_number(sketch.question, *correct.steps)
        large = size > SIZE
        limit = LARGE_SIZE if large else SIZE
        valid = [approach for approach in sketch.approaches if approach and largest_number(*approach.steps) <= limit]
        if size > limit or len(approaches := with_distinct_answers(valid)) < 2:
            continue
        return ArithmeticProblem(kind, sketch.question, sketch.numbers, approaches, large, sketch.form)
