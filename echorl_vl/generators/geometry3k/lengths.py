"""Problems about lengths and areas of polygons."""

from __future__ import annotations

import random

from echorl_vl.generators.geometry3k.canvas import Canvas
from echorl_vl.generators.geometry3k.problem import Sketch
from echorl_vl.generators.splits import Approach

PYTHAGORAS = "By the Pythagorean theorem the squares of the legs add up"
ADD_SIDES = "The side is the sum of the other two"
SUBTRACT_SIDES = "The side is the difference of the other two"
RECTANGLE_AREA = "The area of a rectangle is length times width"
PERIMETER = "The perimeter is the sum of all sides"
TRIANGLE_AREA = "The area of a triangle is half of base times height"
PARALLELOGRAM_AREA = "The area of a parallelogram is base times height"
MIDSEGMENT = "The midsegment is half the sum of the bases"
TRIANGLE_MIDSEGMENT = "The midsegment is half of the base"

TRIPLES = ((3, 4, 5), (6, 8, 10), (5, 12, 13), (9, 12, 15), (8, 15, 17), (12, 16, 20), (7, 24, 25), (15, 20, 25))


def _right_triangle(canvas: Canvas, horizontal: object, vertical: object, hypotenuse: object) -> None:
    corner, right, top = (1.4, 6.6), (7.4, 6.6), (1.4, 0.8)
    canvas.polygon(corner, right, top)
    canvas.right_angle(corner, right, top)
    canvas.label(horizontal, (4.0, 7.5))
    canvas.label(vertical, (0.8, 3.6))
    canvas.label(hypotenuse, (5.4, 3.0))


def hypotenuse(rng: random.Random) -> Sketch:
    """Both legs of a right triangle are given, the hypotenuse is x."""
    triple = rng.choice(TRIPLES)
    a, b = rng.sample(triple[:2], 2)
    c = triple[2]

    def draw(canvas: Canvas) -> None:
        _right_triangle(canvas, a, b, "x")

    correct = Approach(PYTHAGORAS, (f"{a * a} + {b * b} = {c * c}", f"x = {c}"), str(c))
    added = Approach(ADD_SIDES, (f"{a} + {b} = {a + b}",), str(a + b))
    question = rng.choice(("Find x in the right triangle.", "How long is the hypotenuse?", "Find the side x."))
    return Sketch(question, (a, b), draw, (correct, added), large=c > 17)


def leg(rng: random.Random) -> Sketch:
    """The hypotenuse and a leg of a right triangle are given, the other leg is x."""
    triple = rng.choice(TRIPLES)
    a, b = rng.sample(triple[:2], 2)
    c = triple[2]

    def draw(canvas: Canvas) -> None:
        _right_triangle(canvas, a, "x", c)

    correct = Approach(PYTHAGORAS, (f"{c * c} - {a * a} = {b * b}", f"x = {b}"), str(b))
    subtracted = Approach(SUBTRACT_SIDES, (f"{c} - {a} = {c - a}",), str(c - a))
    added = Approach(ADD_SIDES, (f"{a} + {c} = {a + c}",), str(a + c))
    question = rng.choice(("Find x in the right triangle.", "How long is the other leg?", "Find the side x."))
    return Sketch(question, (a, c), draw, (correct, subtracted, added), large=c > 17)


def _product(theorem: str, a: int, b: int) -> Approach:
    return Approach(theorem, (f"{a} * {b} = {a * b}",), str(a * b))


def _half_product(theorem: str, a: int, b: int) -> Approach:
    return Approach(theorem, (f"{a} * {b} = {a * b}", f"{a * b} / 2 = {a * b // 2}"), str(a * b // 2))


def _perimeter(a: int, b: int) -> Approach:
    return Approach(PERIMETER, (f"{a} + {b} = {a + b}", f"2 * {a + b} = {2 * (a + b)}"), str(2 * (a + b)))


def rectangle_area(rng: random.Random) -> Sketch:
    """Two sides of a rectangle are given, the area is x."""
    a, b = rng.randint(2, 12), rng.randint(2, 12)

    def draw(canvas: Canvas) -> None:
        canvas.polygon((0.4, 1.4), (6.0, 1.4), (6.0, 6.4), (0.4, 6.4))
        canvas.label(a, (3.2, 7.4))
        canvas.label(b, (7.0, 3.6))

    approaches = (_product(RECTANGLE_AREA, a, b), _perimeter(a, b))
    if a * b % 2 == 0:
        approaches += (_half_product(TRIANGLE_AREA, a, b),)
    question = rng.choice(
        ("Find the area x of the rectangle.", "What is the area of the rectangle?", "Find the area x.")
    )
    return Sketch(question, (a, b), draw, approaches, large=max(a, b) > 9)


def triangle_area(rng: random.Random) -> Sketch:
    """Base and height of a triangle are given, the area is x."""
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    if a * b % 2:
        a += 1

    def draw(canvas: Canvas) -> None:
        canvas.polygon((0.5, 6.4), (7.5, 6.4), (4.6, 0.6))
        canvas.line((4.6, 0.6), (4.6, 6.4), dashed=True)
        canvas.right_angle((4.6, 6.4), (7.5, 6.4), (4.6, 0.6))
        canvas.label(a, (3.4, 7.4))
        canvas.label(b, (3.4, 4.5))

    approaches = (_half_product(TRIANGLE_AREA, a, b), _product(PARALLELOGRAM_AREA, a, b), _perimeter(a, b))
    question = rng.choice(("Find the area x of the triangle.", "What is the area of the triangle?", "Find the area x."))
    return Sketch(question, (a, b), draw, approaches, large=max(a, b) > 9)


def parallelogram_area(rng: random.Random) -> Sketch:
    """Base and height of a parallelogram are given, the area is x."""
    a, b = rng.randint(2, 12), rng.randint(2, 12)

    def draw(canvas: Canvas) -> None:
        canvas.polygon((0.3, 6.4), (5.4, 6.4), (7.7, 1.2), (2.6, 1.2))
        canvas.line((2.6, 1.2), (2.6, 6.4), dashed=True)
        canvas.right_angle((2.6, 6.4), (5.4, 6.4), (2.6, 1.2))
        canvas.label(a, (3.0, 7.4))
        canvas.label(b, (4.1, 3.6))

    incorrect = _half_product(TRIANGLE_AREA, a, b) if a * b % 2 == 0 else _perimeter(a, b)
    question = rng.choice(
        ("Find the area x of the parallelogram.", "What is the area of the parallelogram?", "Find the area x.")
    )
    return Sketch(question, (a, b), draw, (_product(PARALLELOGRAM_AREA, a, b), incorrect), large=max(a, b) > 9)


def trapezoid_midsegment(rng: random.Random) -> Sketch:
    """Both bases of a trapezoid are given, the midsegment is x."""
    a, b = rng.randint(2, 15), rng.randint(2, 15)
    if (a + b) % 2:
        b += 1

    def draw(canvas: Canvas) -> None:
        canvas.polygon((0.3, 6.5), (7.7, 6.5), (5.8, 1.6), (1.8, 1.6))
        canvas.line((1.1, 4.2), (6.7, 4.2))
        canvas.label(a, (3.8, 0.6))
        canvas.label(b, (4.0, 7.4))
        canvas.label("x", (3.8, 3.4))

    total = a + b
    correct = Approach(MIDSEGMENT, (f"{a} + {b} = {total}", f"{total} / 2 = {total // 2}"), str(total // 2))
    added = Approach(ADD_SIDES, (f"{a} + {b} = {total}",), str(total))
    question = rng.choice(("Find x in the trapezoid.", "How long is the midsegment?", "Find the side x."))
    return Sketch(question, (a, b), draw, (correct, added), large=max(a, b) > 11)


def triangle_midsegment(rng: random.Random) -> Sketch:
    """The base of a triangle is given, the midsegment is x."""
    a = 2 * rng.randint(2, 20)

    def draw(canvas: Canvas) -> None:
        canvas.polygon((0.3, 6.5), (7.7, 6.5), (3.4, 0.6))
        canvas.line((1.85, 3.55), (5.55, 3.55))
        canvas.label(a, (4.0, 7.4))
        canvas.label("x", (3.6, 4.4))

    correct = Approach(TRIANGLE_MIDSEGMENT, (f"{a} / 2 = {a // 2}",), str(a // 2))
    doubled = Approach(ADD_SIDES, (f"{a} + {a} = {2 * a}",), str(2 * a))
    same = Approach("The midsegment is as long as the base", (f"x = {a}",), str(a))
    question = rng.choice(("Find the midsegment x.", "How long is the line inside the triangle?", "Find the side x."))
    return Sketch(question, (a,), draw, (correct, doubled, same), large=a > 26)
