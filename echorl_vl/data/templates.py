"""Templates around a question: the format prompt (jinja, as EasyR1's) and the content of a chat message.

Templates come with models, data sets and other people's configurations, and a template is a program. Each is tried
once in a process with limits (`template_trial`); after that each rendering has a time limit and a limit on its length,
and whatever it raises is an error that names the template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from echorl_vl.data.template_trial import MAX_CHARACTERS, trial_fault
from echorl_vl.data.time_limit import TookTooLong, time_limit
from echorl_vl.errors import UserError, setting, shorten

IMAGE = "<image>"
VIDEO = "<video>"
RENDER_SECONDS = 20.0
_SHORT_QUESTION = "1 + 1?"


class TemplateFailure(UserError):
    """A template raised something for this one question; the message names the template and says what."""


def read_template(path: str | Path, key: str) -> str:
    """Text of the template at ``path``, which the setting ``key`` names. Raises UserError if there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # a path with NUL, a text that is not UTF-8
        raise UserError(f"{path} ({key}): can't be read: {error}") from error
    if not text.strip():
        raise UserError(f"{path} ({key}): the template is empty")
    return text


def load_format_prompt(path: str | Path) -> Callable[[str], str]:
    """The jinja template at ``path`` as a function of the question, which it names ``content``.

    Raises UserError if it is no jinja, doesn't use ``content``, uses another variable, or fails on a question.
    """
    name = f"{path} ({setting('data.format_prompt')})"
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    text = read_template(path, setting("data.format_prompt")).strip()
    check_bounds(name, text, content=_SHORT_QUESTION)  # before jinja works out what is constant in it
    try:
        variables = meta.find_undeclared_variables(environment.parse(text))
        template = environment.from_string(text)
    except (TemplateError, RecursionError) as error:
        raise UserError(f"{name}: not a jinja template: {error}") from error
    if variables != {"content"}:
        found = ", ".join(sorted(variables)) or "none"
        raise UserError(f"{name}: must use the variable content and no other; found {found}")

    def render(question: str) -> str:
        return bounded(name, lambda: template.render(content=question))

    render(_SHORT_QUESTION)
    return render


def check_chat_template(name: str, template: str, parts: bool) -> None:
    """Raises UserError for a chat template that one short question shows to be too slow or too large.

    ``parts``: the content of a message is a list of parts, as for a model that reads images.
    """
    content = message_content(_SHORT_QUESTION) if parts else _SHORT_QUESTION
    check_bounds(name, template, messages=[{"role": "user", "content": content}], add_generation_prompt=True)


def check_bounds(name: str, template: str, **variables: Any) -> None:
    """Raises UserError for a template that takes too much time or memory, or writes too much, with ``variables``."""
    if fault := trial_fault(template, json.dumps(variables)):
        raise UserError(f"{name}: the template {fault}")


def bounded(name: str, render: Callable[[], str], kind: str = "template") -> str:
    """What ``render`` returns, which renders the template (the ``kind`` of it) that ``name`` names.

    Raises UserError, opening with ``name``, if it takes more than `RENDER_SECONDS` or writes more than
    ``MAX_CHARACTERS``; TemplateFailure for whatever it raises itself.
    """
    try:
        with time_limit(RENDER_SECONDS):
            text = render()
    except TookTooLong:
        raise UserError(f"{name}: the template takes more than {RENDER_SECONDS:g} s for one question") from None
    except Exception as error:  # a template may raise anything: TypeError, RecursionError, MemoryError
        raise TemplateFailure(f"{name}: the {kind} fails: {type(error).__name__}: {shorten(str(error))}") from error
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{name}: the template wrote {len(text):,} characters; expected at most {MAX_CHARACTERS:,}")
    return text


def message_content(question: str) -> list[dict[str, str]]:
    """The question as a chat template for images takes it: text and images in turn, one for each ``<image>``."""
    content: list[dict[str, str]] = []
    for index, piece in enumerate(question.split(IMAGE)):
        if index:
            content.append({"type": "image"})
        if piece:
            content.append({"type": "text", "text": piece})
    return content
