"""The rich console that the commands print to, and the warnings of libraries that are hidden there."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from typing import Any

from rich.console import Console
from rich.text import Text

from echorl_vl.outputs.terminal import prepare_console, visible

# Advice of transformers on how it is called. Its messages about a model, such as missing weights, are shown.
_ADVICE = re.compile(r"deprecated|breaking change|in a future (release|version)|will be removed in|FutureWarning", re.I)


class PlainConsole(Console):
    """A console that prints strings as they are, in tables too: without markup, emoji codes or control characters.

    rich's `Text` is not escaped: pass foreign text through `visible` before you put it into one.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


def make_console(**options: Any) -> PlainConsole:
    """A console on stdout. `options` are those of rich."""
    prepare_console()
    return PlainConsole(**{"highlight": False, "markup": False, "emoji": False, **options})


def quiet_libraries(progress: bool = True) -> None:
    """Hides FutureWarnings and transformers' advice on its interface, which users can't act on.

    Python's -W and PYTHONWARNINGS show the warnings again. Reward functions run in other processes and are not
    affected.

    Args:
        progress: False hides the progress bars of the Hugging Face libraries too.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
    from transformers.utils import logging as transformers_logging  # here: slow to import

    transformers_logging.get_logger()  # creates the handler
    for handler in logging.getLogger("transformers").handlers:
        handler.addFilter(_is_no_advice)
    if not progress:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        transformers_logging.disable_progress_bar()
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # read when datasets is imported
        if "datasets" in sys.modules:
            sys.modules["datasets"].disable_progress_bars()


def _is_no_advice(record: logging.LogRecord) -> bool:
    return not _ADVICE.search(record.getMessage())
