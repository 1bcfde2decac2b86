"""Templates around a question: the format prompt (jinja, as EasyR1's) and the content of a chat message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from echorl_vl.errors import UserError

IMAGE = "<image>"
VIDEO = "<video>"


def read_template(path: str | Path, setting: str) -> str:
    """Text of the template at ``path``, which the config key ``setting`` names. Raises UserError if there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} ({setting}): can't be read: {error}") from error
    if not text.strip():
        raise UserError(f"{path} ({setting}): the template is empty")
    return text


def load_format_prompt(path: str | Path) -> Callable[[str], str]:
    """The jinja template at ``path`` as a function of the question, which it names ``content``.

    Raises UserError if it is no jinja, doesn't use ``content``, uses another variable, or fails on a question.
    """
    name = f"{path} (data.format_prompt)"
    # Sandboxed, since a template comes with data sets and other people's configs.
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    text = read_template(path, "data.format_prompt").strip()
    try:
        variables = meta.find_undeclared_variables(environment.parse(text))
        template = environment.from_string(text)
    except TemplateError as error:
        raise UserError(f"{name}: not a jinja template: {error}") from error
    if variables != {"content"}:
        found = ", ".join(sorted(variables)) or "none"
        raise UserError(f"{name}: must use the variable content and no other; found {found}")

    def render(question: str) -> str:
        try:
            return template.render(content=question)
        except TemplateError as error:
            raise UserError(f"{name}: the template fails: {error}") from error

    return render


def message_content(question: str) -> list[dict[str, str]]:
    """The question as a chat template for pictures takes it: text and pictures in turn, one for each ``<image>``."""
    content: list[dict[str, str]] = []
    for index, piece in enumerate(question.split(IMAGE)):
        if index:
            content.append({"type": "image"})
        if piece:
            content.append({"type": "text", "text": piece})
    return content
