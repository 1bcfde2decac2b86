"""Problems about angles. All angles are multiples of five degrees."""

from __future__ import annotations

import random

from echorl_vl.generators.geometry3k.canvas import Canvas
from echorl_vl.generators.geometry3k.problem import Sketch
from echorl_vl.generators.splits import Approach

SUM_180 = "The angles of a triangle add up to 180"
EXTERIOR = "An exterior angle equals the sum of the two remote angles"
LINEAR_PAIR = "Angles on a straight line add up to 180"
BASE_ANGLES = "The base angles of an isosceles triangle are equal"
EQUAL_ANGLES = "Corresponding angles are equal"
SAME_SIDE = "Same side angles add up to 180"
SUM_360 = "The angles of a quadrilateral add up to 360"
OPPOSITE_180 = "Opposite angles add up to 180"


def _angle(rng: random.Random, low: int, high: int) -> int:
    return 5 * rng.randint(low // 5, high // 5)


def _from_total(theorem: str, total: int, *angles: int) -> Approach:
    """x = total - (sum of angles), with one addition per line."""
    steps, running = [], angles[0]
    for angle in angles[1:]:
        steps.append(f"{running} + {angle} = {running + angle}")
        running += angle
    steps.append(f"{total} - {running} = {total - running}")
    return Approach(theorem, tuple(steps), str(total - running))


def _sum(theorem: str, first: int, second: int) -> Approach:
    return Approach(theorem, (f"{first} + {second} = {first + second}",), str(first + second))


def _same(theorem: str, angle: int) -> Approach:
    return Approach(theorem, (f"x = {angle}",), str(angle))


def _triangle(canvas: Canvas, a: object, b: object, c: object) -> None:
    left, right, top = (0.4, 7.4), (7.6, 7.4), (3.2, 0.6)
    canvas.polygon(left, right, top)
    for vertex, others, text, at in (
        (left, (right, top), a, (1.9, 6.5)),
        (right, (left, top), b, (5.6, 6.5)),
        (top, (left, right), c, (3.5, 2.5)),
    ):
        canvas.angle(vertex, *others)
        canvas.label(text, at)


def triangle_angle(rng: random.Random) -> Sketch:
    """Two angles of a triangle are given, the third is x."""
    a, b = _angle(rng, 20, 85), _angle(rng, 20, 85)
    unknown = rng.choice(("top", "right"))

    def draw(canvas: Canvas) -> None:
        _triangle(canvas, a, *((b, "x") if unknown == "top" else ("x", b)))

    approaches = (_from_total(SUM_180, 180, a, b), _sum(EXTERIOR, a, b), _same(BASE_ANGLES, a))
    question = rng.choice(("Find x in the triangle.", "What is the third angle of the triangle?", "Find the angle x."))
    return Sketch(question, (a, b), draw, approaches, unknown, large=max(a, b) > 70, mirrorable=False)


def exterior_angle(rng: random.Random) -> Sketch:
    """Two remote angles of a triangle are given, the exterior angle is x."""
    a, b = _angle(rng, 20, 85), _angle(rng, 20, 85)

    def draw(canvas: Canvas) -> None:
        left, right, top = (0.3, 6.6), (5.2, 6.6), (2.6, 0.6)
        canvas.polygon(left, right, top)
        canvas.line(right, (7.8, 6.6))
        for vertex, others, text, at in (
            (left, (right, top), a, (1.8, 5.6)),
            (top, (left, right), b, (2.7, 2.5)),
            (right, ((7.8, 6.6), top), "x", (6.4, 5.4)),
        ):
            canvas.angle(vertex, *others)
            canvas.label(text, at)

    approaches = (_sum(EXTERIOR, a, b), _from_total(SUM_180, 180, a, b), _from_total(LINEAR_PAIR, 180, a))
    question = rng.choice(
        ("Find the angle x outside the triangle.", "What is the exterior angle?", "Find the angle x.")
    )
    return Sketch(question, (a, b), draw, approaches, large=max(a, b) > 70)


def parallel_lines(rng: random.Random) -> Sketch:
    """Two parallel lines and a transversal: only the position of x shows whether the angles are equal."""
    a = _angle(rng, 35, 145)
    layout = rng.choice(("corresponding", "same side"))

    def draw(canvas: Canvas) -> None:
        canvas.line((0.2, 2.5), (7.8, 2.5))
        canvas.line((0.2, 5.5), (7.8, 5.5))
        canvas.line((2.0, 7.8), (6.0, 0.2))
        canvas.label(a, (6.2, 1.9))
        canvas.label("x", (4.6, 4.9) if layout == "corresponding" else (1.8, 4.5))

    equal, supplement = _same(EQUAL_ANGLES, a), _from_total(SAME_SIDE, 180, a)
    approaches = (equal, supplement) if layout == "corresponding" else (supplement, equal)
    question = rng.choice(
        ("The two lines are parallel. Find x.", "Find x between the parallel lines.", "Find the angle x.")
    )
    return Sketch(question, (a,), draw, approaches, layout, large=a > 120 or a < 50)


def linear_pair(rng: random.Random) -> Sketch:
    """A ray on a straight line."""
    a = _angle(rng, 25, 155)

    def draw(canvas: Canvas) -> None:
        canvas.line((0.2, 6.0), (7.8, 6.0))
        canvas.line((4.0, 6.0), (6.2, 0.8))
        canvas.label(a, (6.4, 4.5))
        canvas.label("x", (2.5, 4.5))

    approaches = (_from_total(LINEAR_PAIR, 180, a), _same(EQUAL_ANGLES, a))
    question = rng.choice(("Find x on the straight line.", "What is the other angle on the line?", "Find the angle x."))
    return Sketch(question, (a,), draw, approaches, large=a > 120 or a < 50)


def isosceles_base(rng: random.Random) -> Sketch:
    """The apex angle of an isosceles triangle is given, a base angle is x."""
    apex = 10 * rng.randint(2, 14)
    rest = 180 - apex

    def draw(canvas: Canvas) -> None:
        left, right, top = (0.6, 7.2), (7.4, 7.2), (4.0, 0.5)
        canvas.polygon(left, right, top)
        canvas.line((2.0, 3.7), (2.6, 4.1))
        canvas.line((6.0, 3.7), (5.4, 4.1))
        canvas.label(apex, (4.0, 2.5))
        canvas.label("x", (1.6, 6.5))

    halved = Approach(SUM_180, (f"180 - {apex} = {rest}", f"{rest} / 2 = {rest // 2}"), str(rest // 2))
    approaches = (halved, _from_total(LINEAR_PAIR, 180, apex), _same(BASE_ANGLES, apex))
    question = rng.choice(("Two sides are equal. Find x.", "Find the base angle x.", "Find the angle x."))
    return Sketch(question, (apex,), draw, approaches, large=apex > 100)


def quadrilateral_angle(rng: random.Random) -> Sketch:
    """Three angles of a quadrilateral are given, the fourth is x."""
    a, b = _angle(rng, 70, 120), _angle(rng, 70, 120)
    c = _angle(rng, 70, min(120, 330 - a - b))

    def draw(canvas: Canvas) -> None:
        canvas.polygon((0.5, 1.2), (7.2, 0.5), (7.6, 7.5), (1.2, 6.9))
        canvas.label(a, (2.4, 1.9))
        canvas.label(b, (5.7, 1.9))
        canvas.label(c, (5.8, 6.5))
        canvas.label("x", (2.3, 5.8))

    approaches = (_from_total(SUM_360, 360, a, b, c), _from_total(OPPOSITE_180, 180, b), _same(EQUAL_ANGLES, a))
    question = rng.choice(("Find x in the quadrilateral.", "What is the fourth angle?", "Find the angle x."))
    return Sketch(question, (a, b, c), draw, approaches, large=max(a, b, c) > 110, mirrorable=False)
