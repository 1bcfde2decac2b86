"""How a user's reward function is called: EasyR1's interface of today, and those of its older versions.

Today one argument, a row `{"response", "response_length", "ground_truth"}` (REWARD_TYPE = "sequential") or a list of
them ("batch"). Before, `f(predict, ground_truth)` for one row and `f(predicts, ground_truths)` for lists; forks of that
time still have files like these, some of which ask for more than any reward is given today.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from echorl_vl.errors import UserError

TYPES = ("batch", "sequential")
TODAY = (
    'EasyR1\'s interface is f(row, **reward_function_kwargs) with REWARD_TYPE = "sequential" in the file, or '
    'f(rows, ...) with "batch" (the default); a row is a dict with "response", "response_length" and "ground_truth"'
)
_OLDER = {"predict": "sequential", "predict_str": "sequential", "predicts": "batch", "predict_strs": "batch"}

Row = dict[str, Any]


def older_type(function: Callable[..., Any]) -> str | None:
    """The REWARD_TYPE of a function in an older interface, by the names of its arguments; None for any other."""
    names = _names(function)
    if len(names) > 1 and names[0] in _OLDER and names[1] in ("ground_truth", "ground_truths"):
        return _OLDER[names[0]]
    return None


def check_arguments(function: Callable[..., Any], kwargs: dict[str, Any], where: str) -> None:
    """Raise UserError unless the function can be called with the rows and `kwargs`; `where` names it."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable without a signature: the first call will tell
        return
    given = [None, None] if older_type(function) else [None]
    try:
        signature.bind(*given, **kwargs)
    except TypeError as error:
        names, hint = _names(function), ""
        needed = [
            name
            for name, parameter in list(signature.parameters.items())[len(given) :]
            if parameter.default is parameter.empty and parameter.kind in (0, 1, 3) and name not in kwargs
        ]
        if needed and len(given) == 2:
            hint = f": it is written for an older interface, ({', '.join(names)})"
        known = ", ".join(list(signature.parameters)[len(given) :]) or "none"
        hint += f". Keyword arguments that it has: {known}."
        raise UserError(
            f"{where}: reward_function_kwargs {kwargs}: {error}{hint}" + (f" {TODAY}." if needed else "")
        ) from None


def call(function: Callable[..., Any], kind: str, rows: list[Row], kwargs: dict[str, Any]) -> Any:
    """The answer of a function of type `kind` to rows: a list of scores, unless the function is wrong."""
    if not older_type(function):
        return function(rows, **kwargs) if kind == "batch" else [function(row, **kwargs) for row in rows]
    pairs = [(row["response"], row["ground_truth"]) for row in rows]
    if kind == "batch":
        scores = function([response for response, _ in pairs], [truth for _, truth in pairs], **kwargs)
    else:
        scores = [function(*pair, **kwargs) for pair in pairs]
    if not isinstance(scores, (list, tuple)):
        return scores
    return [score if isinstance(score, dict) else {"overall": score} for score in scores]  # the oldest gave a number


def _names(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments that can be given by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
