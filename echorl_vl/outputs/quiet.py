"""What libraries tell their own users' developers stays off the console of a training or an evaluation."""

from __future__ import annotations

import logging
import re
import sys
import warnings

from transformers.utils import logging as transformers_logging

# Of what transformers logs: advice on how it is called. What it says of a model (weights that are missing) is kept.
_ADVICE = re.compile(r"deprecated|breaking change|in a future (release|version)|will be removed in|FutureWarning", re.I)


def quiet_libraries() -> None:
    """Hides FutureWarnings and transformers' advice on its own interface: nobody but us can do anything about them.

    Python's -W and PYTHONWARNINGS show the warnings again. Reward functions run in processes of their own, which this
    does not touch.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
    transformers_logging.get_logger()  # makes the handler
    for handler in logging.getLogger("transformers").handlers:
        handler.addFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return not _ADVICE.search(record.getMessage())
