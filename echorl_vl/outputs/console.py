"""The rich console that our commands print on."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from echorl_vl.outputs.terminal import prepare_console, visible


class PlainConsole(Console):
    """A console to which a string is text: no markup, no emoji codes, no control characters, also in a table's cells.

    rich's `Text` is taken as it is: what is not our own goes through `visible` before it becomes one.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


def make_console(**options: Any) -> PlainConsole:
    """A console on stdout; `options` are rich's."""
    prepare_console()
    return PlainConsole(**{"highlight": False, "markup": False, "emoji": False, **options})
