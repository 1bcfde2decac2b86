"""The kinds of geometry problems, and which of them are in the training split."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from echorl_vl.generators.geometry3k import angles, circles, lengths
from echorl_vl.generators.geometry3k.canvas import POSES
from echorl_vl.generators.geometry3k.problem import GeometryProblem, Sketch
from echorl_vl.generators.splits import with_distinct_answers

TRAIN_KINDS: dict[str, Callable[[random.Random], Sketch]] = {
    "triangle_angle": angles.triangle_angle,
    "exterior_angle": angles.exterior_angle,
    "parallel_lines": angles.parallel_lines,
    "quadrilateral_angle": angles.quadrilateral_angle,
    "hypotenuse": lengths.hypotenuse,
    "leg": lengths.leg,
    "rectangle_area": lengths.rectangle_area,
    "triangle_area": lengths.triangle_area,
    "circle_angle": circles.circle_angle,
    "circle_area": circles.circle_area,
}
"""Kinds in the training split."""

OOD_KINDS: dict[str, Callable[[random.Random], Sketch]] = {
    "linear_pair": angles.linear_pair,
    "isosceles_base": angles.isosceles_base,
    "parallelogram_area": lengths.parallelogram_area,
    "trapezoid_midsegment": lengths.trapezoid_midsegment,
    "triangle_midsegment": lengths.triangle_midsegment,
}
"""Kinds that are not in the training split, for the out-of-domain test. The warm start includes them."""

KINDS = TRAIN_KINDS | OOD_KINDS


def draw_problem(kind: str, rng: random.Random) -> GeometryProblem:
    """Generate a problem with at least one incorrect approach whose answer differs from the correct one.

    Raises:
        KeyError: the kind does not exist.
    """
    make = KINDS[kind]
    while True:
        sketch = make(rng)
        approaches = with_distinct_answers(sketch.approaches)
        if len(approaches) > 1:
            sketch = replace(sketch, approaches=approaches)
            mirror = sketch.mirrorable and rng.random() < 0.5
            return GeometryProblem(kind, sketch, mirror, pose=rng.randrange(POSES))
