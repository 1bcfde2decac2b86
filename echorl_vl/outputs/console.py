"""The rich console that our commands print on, and what libraries may say there."""

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

# Of what transformers logs: advice on how it is called. What it says of a model (weights that are missing) is kept.
_ADVICE = re.compile(r"deprecated|breaking change|in a future (release|version)|will be removed in|FutureWarning", re.I)


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


def quiet_libraries(progress: bool = True) -> None:
    """Hides FutureWarnings and transformers' advice on its own interface: nobody but us can do anything about them.

    Python's -W and PYTHONWARNINGS show the warnings again. Reward functions run in processes of their own, which this
    does not touch.

    Args:
        progress: False hides the progress bars of the Hugging Face libraries too.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
    from transformers.utils import logging as transformers_logging  # here: most commands do without

    transformers_logging.get_logger()  # makes the handler
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
