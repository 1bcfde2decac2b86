"""Templates around a question: the format prompt (jinja, as in EasyR1) and the content of a chat message.

Templates are programs, and come with models, data sets and other people's configurations. Each is tried once in a
process with limits (`template_trial`). After that, each rendering has a limit of time and length, and its errors become
errors that name the template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from echorl_vl.data.template_trial import MAX_CHARACTERS, trial_fault
from echorl_vl.data.time_limit import TimeLimitExceeded, time_limit
from echorl_vl.errors import UserError, setting, shorten

IMAGE = "<image>"
VIDEO = "<video>"
RENDER_SECONDS = 20.0
_SHORT_QUESTION = "1 + 1?"


class TemplateRenderError(UserError):
    """A template failed for one question. The message names the template and its error."""


def read_template(path: str | Path, key: str) -> str:
    """Read the template at ``path``, the value of setting ``key``. Raises UserError if that fails or it is empty."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: a path with NUL, or text that is not UTF-8
        raise UserError(f"{path} ({key}): can't be read: {error}") from error
    if not text.strip():
        raise UserError(f"{path} ({key}): the template is empty")
    return text


def load_format_prompt(path: str | Path) -> Callable[[str], str]:
    """Load a jinja template as a function of the question, its variable ``content``.

    Raises:
        UserError: it is not jinja, does not use ``content``, uses another variable, or fails on a question.
    """
    name = f"{path} ({setting('data.format_prompt')})"
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    text = read_template(path, setting("data.format_prompt")).strip()
    check_bounds(name, text, content=_SHORT_QUESTION)  # before jinja evaluates its constants
    try:
        variables = meta.find_undeclared_variables(environment.parse(text))
        template = environment.from_string(text)
    except (TemplateError, RecursionError) as error:
        raise UserError(f"{name}: not a jinja template: {error}") from error
    if variables != {"content"}:
        found = ", ".join(sorted(variables)) or "none"
        raise UserError(f"{name}: expected one variable, 'content', got {found}")

    def render(question: str) -> str:
        return bounded(name, lambda: template.render(content=question))

    render(_SHORT_QUESTION)
    return render


def check_chat_template(name: str, template: str, parts: bool) -> None:
    """Raise UserError for a chat template that exceeds a limit with one short question.

    Args:
        name: of the template, for messages.
        template: its text.
        parts: the content of a message is a list of parts, as for a model that reads images.
    """
    content = message_content(_SHORT_QUESTION) if parts else _SHORT_QUESTION
    check_bounds(name, template, messages=[{"role": "user", "content": content}], add_generation_prompt=True)


def check_bounds(name: str, template: str, **variables: Any) -> None:
    """Raise UserError for a template that exceeds a limit of time, memory or length with ``variables``."""
    if fault := trial_fault(template, json.dumps(variables)):
        raise UserError(f"{name}: the template {fault}")


def bounded(name: str, render: Callable[[], str], kind: str = "template") -> str:
    """Render a template under limits.

    Args:
        name: of the template, for messages.
        render: renders it.
        kind: of the template, for messages.

    Raises:
        UserError: rendering takes more than `RENDER_SECONDS`, or writes more than `MAX_CHARACTERS`.
        TemplateRenderError: the template fails.
    """
    try:
        with time_limit(RENDER_SECONDS):
            text = render()
    except TimeLimitExceeded:
        raise UserError(f"{name}: the template takes more than {RENDER_SECONDS:g} s for one question") from None
    except Exception as error:  # a template may raise anything: TypeError, RecursionError, MemoryError
        raise TemplateRenderError(f"{name}: the {kind} fails: {type(error).__name__}: {shorten(str(error))}") from error
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{name}: the template wrote {len(text):,} characters; expected at most {MAX_CHARACTERS:,}")
    return text


def message_content(question: str) -> list[dict[str, str]]:
    """The question as parts for a chat template with images: text, and an image for each ``<image>``."""
    content: list[dict[str, str]] = []
    for index, piece in enumerate(question.split(IMAGE)):
        if index:
            content.append({"type": "image"})
        if piece:
            content.append({"type": "text", "text": piece})
    return content
