"""Variables and geometric names as they are written: x_1', AB, \\angle ABC, \\overrightarrow{AB}."""

from __future__ import annotations

import re

from echorl_vl.answers.literals import LiteralReader
from echorl_vl.answers.names import NAMED, Name, is_name
from echorl_vl.answers.reader import NotAnExpressionError
from echorl_vl.answers.tokens import word_set
from echorl_vl.answers.tree import Constant, Expression, Product, Sum, Variable, negated

GREEK = word_set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau "
    "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar R"
)
ACCENTS = word_set("hat dot ddot tilde vec overline overrightarrow overleftrightarrow overarc mathcal mathbb")
KINDS = {
    "overline": "segment",
    "overrightarrow": "vector",
    "vec": "vector",
    "overleftrightarrow": "line",
    "overarc": "arc",
}
CAPITALS = re.compile("[A-Z]+")


def letter_of(name: str) -> Expression:
    """A variable, or one of the constants e and i."""
    return Constant(name) if name in ("e", "i") else Variable(name)


def is_vector(tree: Expression) -> bool:
    """Whether an expression is a vector: an arrow or a bold letter, or from one point to another."""
    return vector_points(tree) is not None or (isinstance(tree, Variable) and tree.name.startswith(("vec ", "basis ")))


def vector_points(tree: Expression) -> tuple[str, str] | None:
    """The points of \\overrightarrow{AB}, which is the place of B minus that of A: AB + BC = AC, AB = -BA."""
    match tree:
        case Sum((Variable(end), Product((_, Variable(start))))) if end.startswith("place ") and start.startswith(
            "place "
        ):
            return start.removeprefix("place "), end.removeprefix("place ")
    return None


class SymbolReader(LiteralReader):
    """Reads variables and names."""

    def decorated(self, name: str) -> str:
        """A name with its primes and its index, which may stand in any order."""
        while True:
            order = self.peek(3)
            if self.peek() in ("'", "''"):
                name += self.take().text
            elif [self.peek(ahead) for ahead in (0, 1, 2, 4, 5)] == ["^", "{", "(", ")", "}"] and order in "123456789":
                self.at += 6
                name += "'" * int(order or 0)  # f^{(2)} is f''
            elif self.peek() == "_":
                self.take()
                if self.kind() == "number" and len(self.peek()) > 1:  # TeX reads x_12 as x_1 2
                    raise NotAnExpressionError("an index without braces")
                name += f"_{self.braced_text().removeprefix(chr(92))}"
            else:
                return name

    def points(self) -> tuple[str, ...]:
        """Letters with primes and indices, as far as they go without a space."""
        found: list[str] = []
        while self.kind() == "word" and (not found or not self.tokens[self.at].spaced):
            word = self.take().text
            if len(word) > 4:
                raise NotAnExpressionError(f"the word {word!r}")
            found += [*word[:-1], self.decorated(word[-1])]
        if not found:
            raise NotAnExpressionError("a name is missing")
        return tuple(found)

    def name(self, kind: str) -> Expression:
        """The object that follows `\\angle`, `\\triangle` and the like."""
        if self.peek() in NAMED and self.kind() == "word":
            self.take()
        braces = self.peek() == "{" and bool(self.take())
        if self.kind() == "number" and kind == "angle":
            found = self.decorated(self.take().text)
            points: tuple[str, ...] = (f"#{found}",)
        elif self.kind() == "command" and self.peek()[1:] in GREEK:
            points = (self.decorated(self.take().text),)
        else:
            points = self.points()
        if braces:
            self.expect("}")
        if kind == "vector" and len(points) == 2:
            return Sum((Variable(f"place {points[1]}"), negated(Variable(f"place {points[0]}"))))
        return Variable(Name(kind, points).symbol)

    def accent(self, name: str) -> Expression:
        """A letter with a sign over it, or the name of an object: \\hat{x}, \\overline{AB}."""
        opening = int(self.peek() == "{")
        letters = self.peek(opening)
        several = len(letters) > 1 or (opening and self.peek(2) in ("'", "_"))
        if name in KINDS and self.kind(opening) == "word" and CAPITALS.fullmatch(letters) and several:
            return self.name(KINDS[name])
        letter = self.braced_text()
        unit_vector = name in ("hat", "vec") and letter in ("i", "j", "k")
        return self.letter(f"{'basis' if unit_vector else name} {letter}")

    def capitals(self) -> Expression:
        """The name that a run of capitals is, with primes and indices: AB, A'B'C'."""
        *first, last = self.take().text
        points = [*first, self.decorated(last)]
        while self.kind() == "word" and not self.tokens[self.at].spaced and CAPITALS.fullmatch(self.peek()):
            *middle, end = self.take().text
            points += [*middle, self.decorated(end)]
        if not is_name(points):
            raise NotAnExpressionError(f"{''.join(points)!r} names nothing")
        return Variable(Name("", tuple(points)).symbol)
