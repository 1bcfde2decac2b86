"""Geometry problems: a diagram and a question with correct and incorrect approaches."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from echorl_vl.generators.geometry3k.canvas import CELLS, PATCH, Canvas
from echorl_vl.generators.splits import Approach

OPENINGS = ("The figure shows", "The diagram gives", "I read")
CLOSINGS = ("So the answer is", "Therefore x is", "The result is")


@dataclass(frozen=True)
class Sketch:
    """A problem of a kind, without orientation and pose.

    Attributes:
        question: the question, without numbers: all measures are in the diagram only.
        numbers: the measures, in the order in which a solution names them.
        draw: draws the diagram on a canvas.
        approaches: the first is correct, the others are plausible but incorrect.
        layout: the variant of the diagram.
        large: whether a measure is larger than those of the training split.
        mirrorable: whether the order of the measures is still clear in the mirrored diagram.
    """

    question: str
    numbers: tuple[int, ...]
    draw: Callable[[Canvas], None]
    approaches: tuple[Approach, ...]
    layout: str = "plain"
    large: bool = False
    mirrorable: bool = True


@dataclass(frozen=True)
class GeometryProblem:
    """A generated problem; for `mirror` and `pose` see `Canvas`."""

    kind: str
    sketch: Sketch
    mirror: bool
    pose: int

    @property
    def signature(self) -> str:
        """The question and its diagram; equal for problems that differ only in their pose."""
        numbers = ",".join(map(str, self.sketch.numbers))
        return f"{self.kind}|{self.sketch.layout}|{numbers}|{self.mirror}|{self.sketch.question}"

    @property
    def identity(self) -> tuple[str, int]:
        return self.signature, self.pose

    @property
    def large(self) -> bool:
        return self.sketch.large

    @property
    def answer(self) -> str:
        return self.sketch.approaches[0].answer

    def image(self, size: int = CELLS * PATCH) -> bytes:
        """Return the diagram as the bytes of a PNG image of `size` x `size` pixels."""
        canvas = Canvas(size, self.mirror, self.pose)
        self.sketch.draw(canvas)
        return canvas.png()

    def solution(self, rng: random.Random, approach: int = 0, varied: bool = True) -> str:
        """Return a worked solution of several lines with the answer in \\boxed{...}.

        Args:
            rng: random numbers for the wording.
            approach: index of the approach; 0 is correct.
            varied: choose the wording of the first and last line at random; otherwise it is always the same.
        """
        selected = self.sketch.approaches[approach]
        numbers = " and ".join(map(str, self.sketch.numbers))
        opening, closing = (rng.choice(OPENINGS), rng.choice(CLOSINGS)) if varied else (OPENINGS[0], CLOSINGS[0])
        lines = [f"{opening} {numbers}.", f"{selected.idea}.", *selected.steps]
        lines.append(f"{closing} \\boxed{{{selected.answer}}}.")
        return "\n".join(lines)
