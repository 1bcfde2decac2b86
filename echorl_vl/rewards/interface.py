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
_RESPONSES = ("predict", "predict_str", "pred", "prediction", "response", "response_str", "solution_str", "output")
_RESPONSES += ("completion", "solution", "answer")  # the last two are the ground truth of some: see `_pair`
_TRUTHS = ("ground_truth", "gt", "target", "label", "gold", "reference", "answer", "solution")
_LISTS = tuple(f"{name}s" for name in _RESPONSES if name != "completion")  # TRL's completions come with other names

_VERL = ("data_source",)

Row = dict[str, Any]


def older_type(function: Callable[..., Any]) -> str | None:
    """The REWARD_TYPE of a function in an older interface, by the names of its arguments; None for any other."""
    pair = _pair(function)
    if pair is None:
        return None
    annotation = inspect.formatannotation(inspect.signature(function).parameters[pair[0]].annotation)
    return "batch" if pair[0] in _LISTS or "list" in annotation.lower() else "sequential"


def _pair(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Names of the arguments for response and ground truth, or for lists of them; None unless it has both."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    truths = [*_TRUTHS, *(f"{name}s" for name in _TRUTHS)]
    for response in (*_RESPONSES, *_LISTS):
        for truth in truths:
            if response in names and truth in names and response != truth:
                first = [name for name in names if name not in _VERL][:2]
                if set(first) == {response, truth}:
                    return response, truth
    return None


def check_arguments(function: Callable[..., Any], kwargs: dict[str, Any], where: str) -> None:
    """Raise UserError unless the function can be called with the rows and `kwargs`; `where` names it."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable without a signature: the first call will tell
        return
    pair = _pair(function) or ()
    try:
        by_position, by_name = _given(function, pair, pair) if pair else ([None], {})
        signature.bind(*by_position, **by_name, **kwargs)
    except TypeError as error:
        names = [name for name in signature.parameters if name not in pair][0 if pair else 1 :]
        needed = [
            name
            for name, parameter in signature.parameters.items()
            if name in names and parameter.default is parameter.empty and parameter.kind in (0, 1, 3)
        ]
        needed, hint = [name for name in needed if name not in kwargs], ""
        if needed and pair:
            hint = f": it is written for an older interface, ({', '.join(signature.parameters)})"
            if "data_source" in needed:
                hint = f", which verl gives beside {pair[0]!r} and {pair[1]!r}; set it in reward_function_kwargs"
        if set(needed) & {*_TRUTHS, *(f"{name}s" for name in _TRUTHS)}:
            hint += f": it is written for another interface, ({', '.join(signature.parameters)})."
        else:
            hint += f". Keyword arguments that it has: {', '.join(names) or 'none'}."
        raise UserError(
            f"{where}: reward_function_kwargs {kwargs}: {error}{hint}" + (f" {TODAY}." if needed else "")
        ) from None


def call(function: Callable[..., Any], kind: str, rows: list[Row], kwargs: dict[str, Any]) -> Any:
    """The answer of a function of type `kind` to rows: a list of scores, unless the function is wrong."""
    pair = _pair(function)
    if pair is None:
        return _listed(function(rows, **kwargs)) if kind == "batch" else [function(row, **kwargs) for row in rows]
    values = [(row["response"], row["ground_truth"]) for row in rows]
    if kind == "batch":
        columns = [[response for response, _ in values], [truth for _, truth in values]]
        by_position, by_name = _given(function, pair, columns)
        scores = _listed(function(*by_position, **by_name, **kwargs))
    else:
        scores = [function(*first, **named, **kwargs) for first, named in (_given(function, pair, v) for v in values)]
    if not isinstance(scores, (list, tuple)):
        return scores
    return [score if isinstance(score, dict) else {"overall": score} for score in scores]  # the oldest gave a number


def _by_position(function: Callable[..., Any], pair: tuple[str, ...]) -> bool:
    """Whether the arguments of `pair` can't be given by name."""
    parameters = inspect.signature(function).parameters
    return any(parameters[name].kind == inspect.Parameter.POSITIONAL_ONLY for name in pair)


def _given(function: Callable[..., Any], pair: tuple[str, ...], values: Any) -> tuple[list[Any], dict[str, Any]]:
    """`values` of the arguments of `pair` as arguments by position and by name."""
    named = dict(zip(pair, values, strict=True))
    if _by_position(function, pair):
        return [named[name] for name in inspect.signature(function).parameters if name in named], {}
    return [], named


def _listed(scores: Any) -> Any:
    """Tensors and arrays as lists."""
    return scores.tolist() if hasattr(scores, "tolist") else scores
