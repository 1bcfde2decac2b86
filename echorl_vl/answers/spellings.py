"""Characters and commands with the same meaning, each with the one spelling that the tokens have."""

from __future__ import annotations

# The first word of a line is the spelling, the others are characters that stand for it.
_SIGNS = r"""
- − – — ‐
\times ×
\cdot · ⋅
* ∗
/ ÷ ⁄ ∕
\leq ≤ ⩽
\geq ≥ ⩾
\neq ≠
\approx ≈
\cong ≅
\sim ∼ ∽
\parallel ∥
\perp ⊥
\angle ∠
\triangle △
\parallelogram ▱
\odot ⊙
\infty ∞
\cup ∪
\cap ∩
\in ∈
\emptyset ∅ Ø
\pm ±
\mp ∓
\surd √
\degree ° º ˚
' ′ ’ ‘
" ″ ” “
... …
\R ℝ
\forall ∀
\to →
\neg ¬
, 、
. 。
[ 【
] 】
: ∶
| ∣
\euro €
\pounds £
\yen ¥
\cent ¢
\lfloor ⌊
\rfloor ⌋
\lceil ⌈
\rceil ⌉
\Omega Ω Ω
\mu µ μ
\alpha α
\beta β
\gamma γ
\delta δ
\epsilon ε
\zeta ζ
\eta η
\theta θ
\iota ι
\kappa κ
\lambda λ
\nu ν
\xi ξ
\rho ρ
\sigma σ
\tau τ
\upsilon υ
\varphi φ
\chi χ
\psi ψ
\omega ω
\Gamma Γ
\Delta Δ
\Theta Θ
\Lambda Λ
\Xi Ξ
\Pi Π
\Sigma Σ
\Phi Φ
\Psi Ψ
\pi π
\phi ϕ
"""

# The first word of a line is the spelling, the others are commands or signs that stand for it.
_COMMANDS = r"""
\frac \nicefrac \sfrac \dfrac \tfrac \cfrac
\epsilon \varepsilon
\phi \varphi
\binom \dbinom \tbinom
\leq \le \leqslant <=
\geq \ge \geqslant >=
\neq != \ne
< \lt
> \gt
= ==
: \colon
% \%
\{ \lbrace
\} \rbrace
* \ast
/ \div
\emptyset \varnothing
\angle \measuredangle
\approx \simeq \doteq \thickapprox
\wedge \land \&
\neg \lnot
\vee \lor
' \prime
... \dots \ldots \cdots
| \lvert \rvert \vert \mid
\| \lVert \rVert
\triangle \bigtriangleup
\square \Box
\overarc \wideparen \widehat
\overline \bar
\degree \degrees \textdegree
[ \lbrack
] \rbrack
\to \longrightarrow \rightarrow
\euro \Euro
\setminus \backslash
\$ \textdollar
"""

_FRACTIONS = "½ 1 2, ⅓ 1 3, ⅔ 2 3, ¼ 1 4, ¾ 3 4, ⅕ 1 5, ⅖ 2 5, ⅗ 3 5, ⅘ 4 5, ⅙ 1 6, ⅚ 5 6, ⅛ 1 8, ⅜ 3 8, ⅝ 5 8, ⅞ 7 8"
_WHITE_SPACE = "\n\t\r\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000"
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_FULL_WIDTH = {chr(0xFF01 + offset): chr(0x21 + offset) for offset in range(94)}


def _variants(table: str) -> dict[str, str]:
    """Variant -> spelling."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {variant: spelling for spelling, *variants in rows for variant in variants}


def _as_command(spelling: str) -> str:
    """A command needs a space after it: 2\\pi r."""
    return f"{spelling} " if spelling[-1].isalpha() else spelling


CHARACTERS = str.maketrans(
    {character: _as_command(spelling) for character, spelling in _variants(_SIGNS).items()}
    | {sign: rf"\frac{{{top}}}{{{bottom}}}" for sign, top, bottom in (part.split() for part in _FRACTIONS.split(", "))}
    | _FULL_WIDTH
    | dict.fromkeys(_WHITE_SPACE, " ")
    | dict.fromkeys(_INVISIBLE, "")
    | {"℃": r"\degree C", "℉": r"\degree F"}
)
"""For `str.translate`."""

COMMANDS = _variants(_COMMANDS)
"""Variant of a token -> its spelling."""
