"""Generated problem sets. Importing this package registers them as data sources; they are generated when read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echorl_vl.data.generated import register_source

if TYPE_CHECKING:
    import datasets


@register_source("generated/geometry3k")
def _geometry3k(split: str) -> datasets.Dataset:
    from echorl_vl.generators.geometry3k.generate import load_split

    return load_split(split)


@register_source("generated/arithmetic")
def _arithmetic(split: str) -> datasets.Dataset:
    from echorl_vl.generators.arithmetic.generate import load_split

    return load_split(split)
