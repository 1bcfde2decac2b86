"""Problems and prompts as the `data:` section of a configuration asks for them; the same for every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from echorl_vl.data.demonstrations import DemonstrationEncoder, answer_opening, usable_demonstrations
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.screening import screen
from echorl_vl.data.sources import read_problems
from echorl_vl.models import ModelFamily
from echorl_vl.types import Keys, Problem

if TYPE_CHECKING:
    from echorl_vl.config import Config


def _nothing(line: str) -> None:
    pass


def load_set(
    config: Config,
    spec: str | Sequence[str],
    demonstration_key: str | None = None,
    videos: bool = False,
) -> Problems:
    """The problems of `data.train_files` or `data.val_files`, checked row by row: those of rows that can be used, with
    what is wrong with the others (`Problems.faults`), which `screen_set` says or raises. Raises UserError.

    Args:
        videos: the engine reads videos.
    """
    data = config.data
    keys = Keys(data.prompt_key, data.answer_key, data.image_key, data.video_key, demonstration_key)
    return read_problems(spec, keys, data.image_dir, videos)


def make_encoder(
    config: Config, tokenizer: Any, processor: Any | None, family: ModelFamily | None = None
) -> PromptEncoder:
    """The encoder of the `data:` section, for a model's tokenizer and processor (None for a text model)."""
    data = config.data
    return PromptEncoder(
        processor,
        tokenizer,
        format_prompt=data.format_prompt,
        min_pixels=data.min_pixels,
        max_pixels=data.max_pixels,
        max_prompt_length=data.max_prompt_length,
        override_chat_template=data.override_chat_template,
        family=family,
    )


def screen_set(
    config: Config, problems: Problems, encoder: PromptEncoder, note: Callable[[str], None] = _nothing
) -> Problems:
    """The problems whose prompts and images a run can draw (`screen`), with one list or count of all rows that can't
    be used (`data.bad_rows`). Raises UserError.
    """
    data = config.data
    return screen(problems, encoder, data.bad_rows, data.check_images, data.filter_overlong_prompts, note)


def demonstration_encoder(
    config: Config, prompts: PromptEncoder, problem: Problem, end_of_turn: int
) -> DemonstrationEncoder:
    """Encodes demonstrations as responses of the policy; `problem` shows how the chat template opens an answer."""
    data, opening = config.data, answer_opening(prompts.render(problem))
    return DemonstrationEncoder(
        prompts.tokenizer, end_of_turn, data.max_response_length, data.trace_needs_box, opening=opening
    )


def with_demonstrations(
    config: Config, problems: Problems, encoder: DemonstrationEncoder, note: Callable[[str], None] = _nothing
) -> Problems:
    """The problems whose demonstration can be used; ``note`` takes a line about how many.

    Raises:
        UserError: none can be used, or one can't be under `data.bad_traces: error`.
    """
    found = usable_demonstrations(problems, encoder, config.data.bad_traces)
    note(f"{problems.source}: {found}")
    return problems.select(found.kept) if found.dropped else problems
