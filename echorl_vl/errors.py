"""The one exception that stands for a mistake the user can mend, and the exit status of a stopped run."""

from __future__ import annotations

INTERRUPTED = 130
"""Exit status of a run that the user stopped, as of any program that SIGINT ends."""


class UserError(Exception):
    """Bad input. The message names the file, row or key, what was found and what is wanted.

    The command line prints it without a traceback and exits with status 2.
    """
