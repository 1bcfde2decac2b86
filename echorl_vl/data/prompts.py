"""Encode problems as the model's input: chat template, tokens, and pixel values of the images."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from echorl_vl.data.bad_rows import RowError
from echorl_vl.data.templates import (
    IMAGE,
    VIDEO,
    TemplateRenderError,
    bounded,
    check_chat_template,
    load_format_prompt,
    message_content,
    read_template,
)
from echorl_vl.errors import UserError, setting
from echorl_vl.models import ModelFamily, image_processing
from echorl_vl.models.tokens import reserved_tokens
from echorl_vl.types import Problem, Prompt

CACHE_BYTES = 256 * 1024 * 1024
RENDERED_TOKENS = 4_000_000  # of rendered prompts that are kept until they are encoded


class PromptOutline(NamedTuple):
    """A prompt before its images are decoded: its text, and the number of tokens that the images add."""

    problem: Problem
    text: str
    image_tokens: int


class PromptEncoder:
    """Encodes problems for one model, with a cache of encoded prompts.

    Args:
        processor: of the model, None for a text model.
        tokenizer: of the model.
        format_prompt: path of a jinja template with ``{{ content }}`` for the question.
        min_pixels: least area of an image after resizing, None for the processor's.
        max_pixels: largest area of an image after resizing, None for the processor's.
        max_prompt_length: in tokens, None for no limit.
        override_chat_template: path of a chat template.
        cache_bytes: size of the cache, which drops the least recently used prompts.
        family: of the model, None to find it by the processor.

    Raises:
        UserError: a template can't be read, is not jinja, does not use the question, or takes too much time or memory.
    """

    def __init__(
        self,
        processor: Any | None,
        tokenizer: Any,
        format_prompt: str | Path | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        max_prompt_length: int | None = None,
        override_chat_template: str | Path | None = None,
        cache_bytes: int = CACHE_BYTES,
        family: ModelFamily | None = None,
    ):
        self.processor = processor
        self.tokenizer = tokenizer
        self.max_prompt_length = max_prompt_length
        self._format = None if format_prompt is None else load_format_prompt(format_prompt)
        self._chat_template = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
        self._chat_name = f"the chat template of {getattr(tokenizer, 'name_or_path', '') or 'the model'}"
        if override_chat_template is not None:
            self._chat_template = read_template(override_chat_template, "data.override_chat_template")
            self._chat_name = f"{override_chat_template} (data.override_chat_template)"
        if isinstance(self._chat_template, str):
            check_chat_template(self._chat_name, self._chat_template, parts=processor is not None)
        reserved = set(reserved_tokens(tokenizer).values()) - {
            IMAGE,
            VIDEO,
        }  # placeholders of data sets, which are allowed
        self._reserved = re.compile("|".join(map(re.escape, sorted(reserved, key=len, reverse=True))) or r"(?!)")
        self._cache: OrderedDict[str, Prompt] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached = 0
        self._rendered: dict[str, tuple[tuple[Any, ...], str, Tensor]] = {}  # uid -> text key, text, token ids
        self._rendered_tokens = 0
        self.images = None
        if processor is not None:
            from echorl_vl.data.images import ProblemImages  # not needed for a text model

            self.images = ProblemImages(image_processing(processor, min_pixels, max_pixels, family))

    def encode(self, problem: Problem) -> Prompt:
        """Encode the prompt of a problem.

        Raises:
            UserError: an image can't be used, the placeholders do not match the images, or the prompt is longer than
                ``max_prompt_length``.
        """
        kept = self._cache.get(problem.uid)
        # A uid names a row, not its content, so two problems made in code may share one.
        if kept is not None and _prompt_key(kept.problem) == _prompt_key(problem):
            self._cache.move_to_end(problem.uid)
            return kept
        prompt = self._encode(problem)
        if self.max_prompt_length is not None and len(prompt) > self.max_prompt_length:
            raise self.too_long(problem, len(prompt))
        self._keep(prompt)
        return prompt

    def too_long(self, problem: Problem, length: int) -> RowError:
        """The error for a prompt of ``length`` tokens, more than the limit."""
        most = self.images.processing.max_pixels if problem.images else None
        pixels = "" if most is None else f"lower {setting('data.max_pixels')} (now {most}), "
        return RowError(
            problem,
            problem.keys.prompt,
            f"the prompt has {length} tokens, but data.max_prompt_length is {self.max_prompt_length}: raise it, "
            f"{pixels}or skip such prompts with data.filter_overlong_prompts=true",
        )

    def lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Number of tokens of each problem's prompt, from its text and the headers of its images."""
        return self.count_tokens([self.outline(problem) for problem in problems])

    def outline(self, problem: Problem) -> PromptOutline:
        """Render the prompt and read the headers of its images.

        Raises:
            RowError: as in `encode`, except for the length and for damage after the header of an image.
        """
        text = self.render(problem)
        # the text has one token per image already
        added = self.images.tokens(problem) - len(problem.images) if problem.images else 0
        return PromptOutline(problem, text, added)

    def count_tokens(self, outlines: Sequence[PromptOutline]) -> list[int]:
        """Number of tokens of each outlined prompt."""
        lengths = []
        for outline, ids in zip(outlines, self._tokenize([outline.text for outline in outlines]), strict=True):
            lengths.append(len(ids) + outline.image_tokens)
            self._forget(outline.problem)
            if self._rendered_tokens + len(ids) <= RENDERED_TOKENS:
                self._rendered[outline.problem.uid] = _text_key(outline.problem), outline.text, ids
                self._rendered_tokens += len(ids)
        return lengths

    def render(self, problem: Problem) -> str:
        """Render the chat as text, with format prompt, chat template and the opening of the response.

        Raises:
            RowError: the placeholders do not match the images, the text contains a reserved token of the tokenizer, or
                a template fails.
        """
        self.check_reserved(problem)
        try:
            question = problem.question if self._format is None else self._format(problem.question)
            self._check_placeholders(problem, question)
            if self._chat_template is None:
                return "\n\n".join(filter(None, [(problem.system or "").rstrip(), question.rstrip()])) + "\n"
            text = bounded(self._chat_name, lambda: self._chat(question, problem.system), "chat template")
        except TemplateRenderError as error:
            raise RowError(problem, problem.keys.prompt, str(error)) from error
        self._check_visual_tokens(problem, text)
        return text

    def _chat(self, question: str, system: str | None) -> str:
        renderer = self.tokenizer if self.processor is None else self.processor
        messages = [{"role": "user", "content": question if self.processor is None else message_content(question)}]
        if system is not None:
            # In parts, like the question: some templates of vision models don't take plain text.
            parts = system if self.processor is None else [{"type": "text", "text": system}]
            messages.insert(0, {"role": "system", "content": parts})
        return renderer.apply_chat_template(
            messages, chat_template=self._chat_template, tokenize=False, add_generation_prompt=True
        )

    def _tokenize(self, texts: list[str]) -> list[Tensor]:
        """(L,) int64 token ids of each text, with one token per image."""
        # A chat template adds the begin-of-text token itself. A second one would shift every position.
        options = {"add_special_tokens": self._chat_template is None}
        token_ids = self.tokenizer(texts, **options)["input_ids"] if texts else []
        return [torch.tensor(ids, dtype=torch.long) for ids in token_ids]

    def _encode(self, problem: Problem) -> Prompt:
        key, text, ids = self._forget(problem)
        if key != _text_key(problem):  # not rendered yet, or another question with the same uid
            text = self.render(problem)
            ids = self._tokenize([text])[0]
        if not problem.images:
            return Prompt(problem, text, ids)
        from echorl_vl.data.images import side_by_side

        processing, image_id = self.images.processing, self.tokenizer.convert_tokens_to_ids(self.processor.image_token)
        if (found := int((ids == image_id).sum())) != len(problem.images):
            raise UserError(
                f"{problem.where}: {type(self.tokenizer).__name__} makes {found} image tokens "
                f"({self.processor.image_token}) for {len(problem.images)} image(s)"
            )
        opened = self.images.open(problem)
        fitted = self.images.fit(problem, opened)
        return Prompt(
            problem,
            text,
            processing.expand(ids, image_id, fitted),
            *processing.encode(fitted),
            sheet=side_by_side(opened),
        )

    def _forget(self, problem: Problem) -> tuple[tuple[Any, ...], str, Tensor]:
        rendered = self._rendered.pop(problem.uid, ((), "", torch.empty(0)))
        self._rendered_tokens -= len(rendered[2])
        return rendered

    def check_reserved(self, problem: Problem) -> None:
        """Raise RowError for a reserved token in the question or system message.

        A question with `<|im_end|>` would end its turn and could start one of any role.
        """
        for text, part in ((problem.question, ""), (problem.system, "the system message ")):
            if found := self._reserved.search(text or ""):
                raise RowError(
                    problem,
                    problem.keys.prompt,
                    f"{part}contains {found[0]}, a reserved token of the model's tokenizer; expected plain text",
                )

    def _check_placeholders(self, problem: Problem, question: str) -> None:
        keys, images = problem.keys, len(problem.images)
        if VIDEO in question:
            raise RowError(problem, keys.prompt, f"has {VIDEO}: videos are not supported")
        if problem.images and self.processor is None:
            raise RowError(problem, keys.image, "has images, but the model reads only text")
        if problem.images and self._chat_template is None:
            raise UserError("the model has no chat template, which images need: set data.override_chat_template")
        found = question.count(IMAGE)
        if found != images:
            raise RowError(problem, keys.prompt, f"has {found} {IMAGE}, but '{keys.image}' has {images} image(s)")

    def _check_visual_tokens(self, problem: Problem, text: str) -> None:
        """Check that templates add no visual tokens, which the processor would expand like those of images."""
        for kind, expected in (("image_token", len(problem.images)), ("video_token", 0)):
            token = getattr(self.processor, kind, None)
            if token and text.count(token) != expected:
                raise RowError(
                    problem,
                    problem.keys.prompt,
                    f"the chat has {token} {text.count(token)} times, but {expected} image(s) or video(s): a template "
                    "adds or drops this token",
                )

    def _keep(self, prompt: Prompt) -> None:
        old = self._cache.pop(prompt.problem.uid, None)
        self._cached += prompt.nbytes - (0 if old is None else old.nbytes)
        self._cache[prompt.problem.uid] = prompt
        while self._cached > self._cache_bytes:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= dropped.nbytes


def _text_key(problem: Problem) -> tuple[Any, ...]:
    """The fields that determine a prompt's text."""
    return problem.system, problem.question, len(problem.images)


def _prompt_key(problem: Problem) -> tuple[Any, ...]:
    """The fields that determine a prompt."""
    return problem.system, problem.question, problem.images
