"""From a problem to what the model reads: chat template, tokens, patches of the pictures."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from echorl_vl.data.bad_rows import RowError
from echorl_vl.data.templates import (
    IMAGE,
    VIDEO,
    TemplateFailure,
    bounded,
    check_chat_template,
    load_format_prompt,
    message_content,
    read_template,
)
from echorl_vl.errors import UserError
from echorl_vl.models.tokens import reserved_tokens
from echorl_vl.types import Problem, Prompt

CACHE_BYTES = 256 * 1024 * 1024


class Outline(NamedTuple):
    """A prompt before its pictures are decoded: its ``text``, and how many tokens the pictures add to the text's."""

    text: str
    image_tokens: int


class PromptEncoder:
    """Encodes problems for one model.

    ``processor`` is the model's processor (Qwen2-VL kind), None for a text model; ``tokenizer`` its tokenizer.
    ``format_prompt`` is the path of a jinja template with ``{{ content }}`` for the question,
    ``override_chat_template`` the path of a chat template. ``min_pixels`` and ``max_pixels`` bound a picture after
    resizing (None: the processor's own). ``max_prompt_length`` is in tokens, None for no limit. Encoded prompts are
    kept up to ``cache_bytes``; the least recently used go first.

    Raises UserError for templates that can't be read, are not jinja, don't use the question, or take too much time or
    memory.
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
        reserved = set(reserved_tokens(tokenizer).values()) - {IMAGE, VIDEO}  # what a data set writes for its pictures
        self._reserved = re.compile("|".join(map(re.escape, sorted(reserved, key=len, reverse=True))) or r"(?!)")
        self._cache: OrderedDict[str, Prompt] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached = 0
        self.pictures = None
        if processor is not None:
            from echorl_vl.data.picture_fit import PictureFit  # a text model needs nothing that reads pictures

            self.pictures = PictureFit(processor, min_pixels, max_pixels)

    def encode(self, problem: Problem) -> Prompt:
        """The prompt of ``problem``.

        Raises UserError, naming row and field, for a picture that can't be used, placeholders unlike the pictures,
        or a prompt over ``max_prompt_length``.
        """
        kept = self._cache.get(problem.uid)
        # A uid names a row, not its content: two hand-made problems may share one.
        if kept is not None and _written(kept.problem) == _written(problem):
            self._cache.move_to_end(problem.uid)
            return kept
        prompt = self._encode(problem)
        if self.max_prompt_length is not None and len(prompt) > self.max_prompt_length:
            raise self.too_long(problem, len(prompt))
        self._keep(prompt)
        return prompt

    def too_long(self, problem: Problem, length: int) -> RowError:
        """The error for a prompt of ``length`` tokens, which is above the limit."""
        pixels = f"lower data.max_pixels (now {self.pictures.max_pixels}), " if problem.images else ""
        return RowError(
            problem,
            problem.keys.prompt,
            f"the prompt has {length} tokens, data.max_prompt_length is {self.max_prompt_length}: raise it, {pixels}or "
            "leave such rows out with data.filter_overlong_prompts=true",
        )

    def filter_overlong(
        self, problems: Sequence[Problem], max_prompt_length: int | None = None, batch_size: int = 256
    ) -> tuple[list[int], int]:
        """(indices of the problems whose prompt is short enough, number of those that are not).

        Lengths are exact, but worked out from the pictures' headers without decoding them. Raises UserError if
        nothing is left, or for a picture that is no picture.
        """
        limit = self.max_prompt_length if max_prompt_length is None else max_prompt_length
        if limit is None:
            return list(range(len(problems))), 0
        kept: list[int] = []
        shortest = None
        for start in range(0, len(problems), batch_size):
            indices = range(start, min(start + batch_size, len(problems)))
            for index, length in zip(indices, self.lengths([problems[i] for i in indices]), strict=True):
                shortest = length if shortest is None else min(shortest, length)
                if length <= limit:
                    kept.append(index)
        if not kept:
            source = getattr(problems, "source", "the data set")
            raise UserError(
                f"{source}: all {len(problems)} prompts are longer than data.max_prompt_length = {limit} tokens; "
                f"the shortest has {shortest}"
            )
        return kept, len(problems) - len(kept)

    def lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Number of tokens of each problem's prompt, from its text and the sizes in its pictures' headers."""
        return self.count_tokens([self.outline(problem) for problem in problems])

    def outline(self, problem: Problem) -> Outline:
        """The prompt as far as text and picture headers give it. Raises RowError as `encode` does, but for damage
        behind a header and the length."""
        text = self.render(problem)
        # one token of each picture is in the text already
        return Outline(text, self.pictures.tokens(problem) - len(problem.images) if problem.images else 0)

    def count_tokens(self, outlines: Sequence[Outline]) -> list[int]:
        """Number of tokens of each outlined prompt."""
        if not outlines:
            return []
        texts = [outline.text for outline in outlines]
        token_ids = self.tokenizer(texts, add_special_tokens=self._adds_special_tokens)["input_ids"]
        return [len(ids) + outline.image_tokens for ids, outline in zip(token_ids, outlines, strict=True)]

    def render(self, problem: Problem) -> str:
        """The chat as text: format prompt, chat template and the opening of the answer.

        Raises RowError if the text can't be matched with the pictures, spells a reserved token of the tokenizer, or
        makes a template fail.
        """
        self.check_reserved(problem)
        try:
            question = problem.question if self._format is None else self._format(problem.question)
            self._check_placeholders(problem, question)
            if self._chat_template is None:
                return "\n\n".join(filter(None, [(problem.system or "").rstrip(), question.rstrip()])) + "\n"
            text = bounded(self._chat_name, lambda: self._chat(question, problem.system), "chat template")
        except TemplateFailure as error:
            raise RowError(problem, problem.keys.prompt, str(error)) from error
        self._check_visual_tokens(problem, text)
        return text

    def _chat(self, question: str, system: str | None) -> str:
        renderer = self.tokenizer if self.processor is None else self.processor
        messages = [{"role": "user", "content": question if self.processor is None else message_content(question)}]
        if system is not None:
            # Of parts where the question is: some templates of vision models take no plain text.
            parts = system if self.processor is None else [{"type": "text", "text": system}]
            messages.insert(0, {"role": "system", "content": parts})
        return renderer.apply_chat_template(
            messages, chat_template=self._chat_template, tokenize=False, add_generation_prompt=True
        )

    @property
    def _adds_special_tokens(self) -> bool:
        # A chat template writes its own begin-of-text token; a second one would shift every position.
        return self._chat_template is None

    def _encode(self, problem: Problem) -> Prompt:
        text = self.render(problem)
        if not problem.images:
            ids = self.tokenizer(text, add_special_tokens=self._adds_special_tokens)["input_ids"]
            return Prompt(problem, text, torch.tensor(ids, dtype=torch.long))
        pictures = self.pictures.fit(problem)
        # The pictures have their size: a second resize by the processor's own limits would undo the configured ones.
        encoded = self.processor(
            images=pictures,
            text=[text],
            return_tensors="pt",
            do_resize=False,
            add_special_tokens=self._adds_special_tokens,
        )
        prompt = Prompt(
            problem, text, encoded["input_ids"][0], encoded["pixel_values"].float(), encoded["image_grid_thw"].long()
        )
        image_id = self.tokenizer.convert_tokens_to_ids(self.processor.image_token)
        self.pictures.check(prompt, [picture.size for picture in pictures], image_id, type(self.processor).__name__)
        return prompt

    def check_reserved(self, problem: Problem) -> None:
        """Raises RowError for a reserved token in question or system message.

        A question that spells `<|im_end|>` would end its own turn, and could go on as anyone.
        """
        for text, part in ((problem.question, ""), (problem.system, "the system message ")):
            if found := self._reserved.search(text or ""):
                raise RowError(
                    problem,
                    problem.keys.prompt,
                    f"{part}spells {found[0]}, a reserved token of the model's tokenizer; expected plain text",
                )

    def _check_placeholders(self, problem: Problem, question: str) -> None:
        keys, pictures = problem.keys, len(problem.images)
        if VIDEO in question:
            raise RowError(problem, keys.prompt, f"has {VIDEO}: the local engine reads pictures, not videos")
        if problem.images and self.processor is None:
            raise RowError(problem, keys.image, "has pictures, and the model reads text only")
        if problem.images and self._chat_template is None:
            raise UserError("the model has no chat template, which pictures need: set data.override_chat_template")
        found = question.count(IMAGE)
        if found != pictures:
            raise RowError(problem, keys.prompt, f"{found} {IMAGE}, but '{keys.image}' has {pictures} picture(s)")

    def _check_visual_tokens(self, problem: Problem, text: str) -> None:
        """A question may spell a visual token, and the processor would expand it like a picture's own."""
        for kind, wanted in (("image_token", len(problem.images)), ("video_token", 0)):
            token = getattr(self.processor, kind, None)
            if token and text.count(token) != wanted:
                raise RowError(
                    problem,
                    problem.keys.prompt,
                    f"the chat has {token} {text.count(token)} times and {wanted} picture(s) or video(s): a template "
                    "writes this reserved token",
                )

    def _keep(self, prompt: Prompt) -> None:
        old = self._cache.pop(prompt.problem.uid, None)
        self._cached += prompt.nbytes - (0 if old is None else old.nbytes)
        self._cache[prompt.problem.uid] = prompt
        while self._cached > self._cache_bytes:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= dropped.nbytes


def _written(problem: Problem) -> tuple[Any, ...]:
    """What a prompt is made of."""
    return problem.system, problem.question, problem.images
