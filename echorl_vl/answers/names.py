"""Names of geometric objects: which spellings name the same one.

ABC and CBA are one angle, AB and BA one segment, and a polygon may be read from any corner in both directions; a vector
or ray has a direction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

POLYGON_COMMANDS = {r"\triangle": "triangle", r"\square": "quadrilateral", r"\parallelogram": "parallelogram"}
NAMED = {
    "triangle": "triangle",
    "triangles": "triangle",
    "quadrilateral": "quadrilateral",
    "parallelogram": "parallelogram",
    "rectangle": "rectangle",
    "square": "square",
    "rhombus": "rhombus",
    "trapezoid": "trapezoid",
    "angle": "angle",
    "arc": "arc",
    "segment": "segment",
    "line": "line",
    "ray": "ray",
    "circle": "circle",
    "vector": "vector",
    "point": "point",
    "plane": "plane",
}
"""Words before a name -> the kind of the object."""

_POLYGONS = frozenset(["triangle", "quadrilateral", "parallelogram", "rectangle", "square", "rhombus", "trapezoid", ""])
_DIRECTED = frozenset(["vector", "ray"])


@dataclass(frozen=True, slots=True)
class Name:
    """A named object.

    Attributes:
        kind: a value of `NAMED`; "" where the text does not say.
        points: its letters with their primes and indices, as written.
    """

    kind: str
    points: tuple[str, ...]

    def spellings(self, kind: str | None = None) -> frozenset[tuple[str, ...]]:
        """All orders of the letters that name the same object, if it is of its own or another kind."""
        kind = self.kind if kind is None else kind
        points, backwards = self.points, self.points[::-1]
        if kind in _DIRECTED:
            return frozenset([points])
        if kind in _POLYGONS and len(points) > 2:
            turned = [one[shift:] + one[:shift] for one in (points, backwards) for shift in range(len(points))]
            return frozenset(turned)
        return frozenset([points, backwards])

    def same(self, other: Name) -> bool:
        """Whether two names may stand for one object. A kind on one side only is taken for both."""
        if self.kind and other.kind and self.kind != other.kind:
            return False
        return self.points in other.spellings(self.kind or other.kind)

    def __str__(self) -> str:
        return f"{self.kind} {''.join(self.points)}".strip()

    @property
    def symbol(self) -> str:
        """One spelling for all that name the same object, as a variable in an expression."""
        points = "".join(min(self.spellings()))
        plain = not self.kind or self.kind == "segment" or (self.kind == "angle" and len(self.points) == 1)
        return points if plain else f"{self.kind} {points}"


def is_name(points: Iterable[str]) -> bool:
    """Whether letters can name an object: two or more, all different, since SAS names none."""
    points = list(points)
    return len(points) > 1 and len(set(points)) == len(points)
