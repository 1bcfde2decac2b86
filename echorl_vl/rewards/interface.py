"""Call a user's reward function through EasyR1's current interface or one of its older ones.

The current interface has one argument: a row `{"response", "response_length", "ground_truth"}` (REWARD_TYPE =
"sequential") or a list of rows ("batch"). The older ones are `f(predict, ground_truth)` for one row and `f(predicts,
ground_truths)` for lists. Forks of EasyR1 still have such files, some with arguments that no longer exist.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from echorl_vl.errors import UserError

TYPES = ("batch", "sequential")
CURRENT_INTERFACE = (
    'EasyR1\'s interface is f(row, **reward_function_kwargs) with REWARD_TYPE = "sequential" in the file, or '
    'f(rows, ...) with "batch" (the default); a row is a dict with "response", "response_length" and "ground_truth"'
)
_RESPONSES = ("predict", "predict_str", "pred", "prediction", "response", "response_str", "solution_str", "output")
_RESPONSES += ("completion", "solution", "answer")  # some functions use the last two for the ground truth, see `_pair`
_TRUTHS = ("ground_truth", "gt", "target", "label", "gold", "reference", "answer", "solution")
_LISTS = tuple(
    f"{name}s" for name in _RESPONSES if name != "completion"
)  # TRL's `completions` comes with other arguments

_VERL = ("data_source",)

Row = dict[str, Any]


def legacy_type(function: Callable[..., Any]) -> str | None:
    """REWARD_TYPE of a function in an older interface, by the names of its arguments; None for other functions."""
    pair = _pair(function)
    if pair is None:
        return None
    annotation = inspect.formatannotation(inspect.signature(function).parameters[pair[0]].annotation)
    return "batch" if pair[0] in _LISTS or "list" in annotation.lower() else "sequential"


def _pair(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Names of the arguments for responses and ground truths of an older interface; None for other functions."""
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
    """Raise UserError, starting with `where`, unless the function takes the rows and `kwargs`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable without a signature is checked by its first call
        return
    pair = _pair(function) or ()
    try:
        by_position, by_name = _bind(function, pair, pair) if pair else ([None], {})
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
            hint = f": it uses an older interface, ({', '.join(signature.parameters)})"
            if "data_source" in needed:
                hint = f", which verl passes along with {pair[0]!r} and {pair[1]!r}; set it in reward_function_kwargs"
        if set(needed) & {*_TRUTHS, *(f"{name}s" for name in _TRUTHS)}:
            hint += f": it uses another interface, ({', '.join(signature.parameters)})."
        else:
            hint += f". Its keyword arguments: {', '.join(names) or 'none'}."
        raise UserError(
            f"{where}: reward_function_kwargs {kwargs}: {error}{hint}" + (f" {CURRENT_INTERFACE}." if needed else "")
        ) from None


def call(function: Callable[..., Any], kind: str, rows: list[Row], kwargs: dict[str, Any]) -> Any:
    """Call a function of REWARD_TYPE `kind` on rows. Returns a list of scores if the function is valid."""
    pair = _pair(function)
    if pair is None:
        return _listed(function(rows, **kwargs)) if kind == "batch" else [function(row, **kwargs) for row in rows]
    values = [(row["response"], row["ground_truth"]) for row in rows]
    if kind == "batch":
        columns = [[response for response, _ in values], [truth for _, truth in values]]
        by_position, by_name = _bind(function, pair, columns)
        scores = _listed(function(*by_position, **by_name, **kwargs))
    else:
        scores = [function(*first, **named, **kwargs) for first, named in (_bind(function, pair, v) for v in values)]
    if not isinstance(scores, (list, tuple)):
        return scores
    return [
        score if isinstance(score, dict) else {"overall": score} for score in scores
    ]  # the oldest interface returns a number


def _is_positional(function: Callable[..., Any], pair: tuple[str, ...]) -> bool:
    """Whether an argument of `pair` is positional-only."""
    parameters = inspect.signature(function).parameters
    return any(parameters[name].kind == inspect.Parameter.POSITIONAL_ONLY for name in pair)


def _bind(function: Callable[..., Any], pair: tuple[str, ...], values: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments that give the arguments of `pair` their `values`."""
    named = dict(zip(pair, values, strict=True))
    if _is_positional(function, pair):
        return [named[name] for name in inspect.signature(function).parameters if name in named], {}
    return [], named


def _listed(scores: Any) -> Any:
    """Scores as a list, also those of a tensor or array."""
    return scores.tolist() if hasattr(scores, "tolist") else scores
