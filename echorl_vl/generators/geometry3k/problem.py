"""What a generated geometry problem is: a diagram, a question, and several approaches, correct and incorrect."""

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
    """A problem of one kind before it is drawn.

    Attributes:
        question: without the picture it can't be answered: every measure stands in the diagram alone.
        numbers: the measures in the order in which a solution names them.
        draw: puts the diagram on a canvas.
        approaches: the first one is correct, the others are plausible and incorrect.
        layout: name of the drawing's variant.
        large: some measure is beyond the sizes of the training split.
        mirrorable: reflected, the diagram still tells which measure comes first.
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
    """A generated problem of kind `kind`, drawn in pose `pose` (see `Canvas`)."""

    kind: str
    sketch: Sketch
    mirror: bool
    pose: int

    @property
    def signature(self) -> str:
        """What is asked about which figure: equal for two problems that differ in their pose alone."""
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

    def picture(self, size: int = CELLS * PATCH) -> bytes:
        """The diagram as PNG bytes, `size` x `size` pixels."""
        canvas = Canvas(size, self.mirror, self.pose)
        self.sketch.draw(canvas)
        return canvas.png()

    def solution(self, rng: random.Random, approach: int = 0, varied: bool = True) -> str:
        """A worked solution of several lines that ends in \\boxed{...}; `approach` 0 is the correct one.

        `varied` draws the wording of the first and the last line; otherwise it is always the same.
        """
        chosen = self.sketch.approaches[approach]
        numbers = " and ".join(map(str, self.sketch.numbers))
        opening, closing = (rng.choice(OPENINGS), rng.choice(CLOSINGS)) if varied else (OPENINGS[0], CLOSINGS[0])
        lines = [f"{opening} {numbers}.", f"{chosen.idea}.", *chosen.steps]
        lines.append(f"{closing} \\boxed{{{chosen.answer}}}.")
        return "\n".join(lines)
