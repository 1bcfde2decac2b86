"""Problems about circles."""

from __future__ import annotations

import random

from echorl_vl.generators.geometry3k.canvas import Canvas
from echorl_vl.generators.geometry3k.problem import Sketch
from echorl_vl.generators.splits import Approach

INSCRIBED = "An inscribed angle is half of the central angle"
CENTRAL = "A central angle is twice the inscribed angle"
SAME_ARC = "Angles over the same arc are equal"
CIRCLE_AREA = "The area of a circle is the radius squared times pi"
CIRCUMFERENCE = "The circumference is twice the radius times pi"

CENTRE = (4.0, 4.0)


def circle_angle(rng: random.Random) -> Sketch:
    """A central and an inscribed angle over one arc: only the position of x shows which of them is asked for."""
    inscribed = 5 * rng.randint(4, 17)
    central = 2 * inscribed
    layout = rng.choice(("inscribed", "central"))
    given = central if layout == "inscribed" else inscribed

    def draw(canvas: Canvas) -> None:
        left, right, top = (1.1, 6.1), (6.9, 6.1), (4.0, 0.4)
        canvas.circle(CENTRE, 3.6)
        canvas.dot(CENTRE)
        for start in (CENTRE, top):
            canvas.line(start, left)
            canvas.line(start, right)
        canvas.label("x" if layout == "inscribed" else given, (4.0, 1.6))
        canvas.label(given if layout == "inscribed" else "x", (4.0, 5.6))

    halved = Approach(INSCRIBED, (f"{given} / 2 = {given // 2}",), str(given // 2))
    doubled = Approach(CENTRAL, (f"2 * {given} = {2 * given}",), str(2 * given))
    same = Approach(SAME_ARC, (f"x = {given}",), str(given))
    approaches = (halved, doubled, same) if layout == "inscribed" else (doubled, halved, same)
    if given % 2:  # half of an odd angle is not a whole number of degrees
        approaches = (doubled, same)
    question = rng.choice(("Find x in the circle.", "Find x over the arc.", "Find the angle x."))
    return Sketch(question, (given,), draw, approaches, layout, large=inscribed > 65)


def circle_area(rng: random.Random) -> Sketch:
    """The radius or the diameter of a circle is given, the area is x."""
    layout = rng.choice(("radius", "diameter"))
    radius = rng.randint(2, 12)
    given = radius if layout == "radius" else 2 * radius

    def draw(canvas: Canvas) -> None:
        canvas.circle(CENTRE, 3.7)
        canvas.dot(CENTRE)
        canvas.line(CENTRE if layout == "radius" else (0.3, 4.0), (7.7, 4.0))
        canvas.label(given, (5.8, 3.4) if layout == "radius" else (4.0, 5.4))

    def area(of: int, *before: str) -> Approach:
        return Approach(CIRCLE_AREA, (*before, f"{of} * {of} = {of * of}"), f"{of * of}\\pi")

    circumference = Approach(CIRCUMFERENCE, (f"2 * {given} = {2 * given}",), f"{2 * given}\\pi")
    if layout == "radius":
        approaches = (area(given), circumference)
    else:
        halve = f"{given} / 2 = {radius}"
        circumference = Approach(CIRCUMFERENCE, (halve, f"2 * {radius} = {given}"), f"{given}\\pi")
        approaches = (area(radius, halve), circumference, area(given))
    approaches = (approaches[0], *(a for a in approaches[1:] if a.answer != approaches[0].answer))
    question = rng.choice(("Find the area x of the circle.", "What is the area of the circle?", "Find the area x."))
    return Sketch(question, (given,), draw, approaches, layout, large=radius > 9)
