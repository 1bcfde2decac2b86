"""The one exception that stands for a mistake the user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The message names the file, row or key, what was found and what is wanted.

    The command line prints it without a traceback and exits with status 2.
    """
