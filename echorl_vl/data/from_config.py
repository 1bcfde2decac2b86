"""Problems and prompts from the `data:` section of a configuration, for every engine."""

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


def _ignore(line: str) -> None:
    pass


def load_set(
    config: Config,
    spec: str | Sequence[str],
    demonstration_key: str | None = None,
    videos: bool = False,
) -> Problems:
    """Load the problems of `data.train_files` or `data.val_files` and check every row.

    Args:
        spec: the value of the setting.
        demonstration_key: column of demonstrations, None for none.
        videos: the engine reads videos.

    Returns:
        The problems of usable rows. `screen_set` reports the others, `Problems.bad_rows`, or raises for them.

    Raises:
        UserError: the set can't be read, or none of its rows can be used.
    """
    data = config.data
    keys = Keys(data.prompt_key, data.answer_key, data.image_key, data.video_key, demonstration_key)
    return read_problems(spec, keys, data.image_dir, videos)


def make_encoder(
    config: Config, tokenizer: Any, processor: Any | None, family: ModelFamily | None = None
) -> PromptEncoder:
    """The prompt encoder for a model's tokenizer and processor (None for a text model)."""
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
    config: Config, problems: Problems, encoder: PromptEncoder, note: Callable[[str], None] = _ignore
) -> Problems:
    """Leave out problems whose prompt or images can't be used (`screen`), with one report of all bad rows.

    Raises:
        UserError: a row can't be used and `data.bad_rows` is "error", or no row is left.
    """
    data = config.data
    return screen(problems, encoder, data.bad_rows, data.check_images, data.filter_overlong_prompts, note)


def demonstration_encoder(
    config: Config, prompts: PromptEncoder, problem: Problem, end_of_turn: int
) -> DemonstrationEncoder:
    """The encoder of demonstrations as responses of the policy.

    Args:
        prompts: encoder of the prompts.
        problem: an example, which shows how the chat template opens a response.
        end_of_turn: token that ends the policy's turn.
    """
    data, opening = config.data, answer_opening(prompts.render(problem))
    return DemonstrationEncoder(
        prompts.tokenizer, end_of_turn, data.max_response_length, data.trace_needs_box, opening=opening
    )


def with_demonstrations(
    config: Config, problems: Problems, encoder: DemonstrationEncoder, note: Callable[[str], None] = _ignore
) -> Problems:
    """Select the problems with a usable demonstration, and report their number to ``note``.

    Raises:
        UserError: no demonstration can be used, or one can't and `data.bad_traces` is "error".
    """
    found = usable_demonstrations(problems, encoder, config.data.bad_traces)
    note(f"{problems.source}: {found}")
    return problems.select(found.kept) if found.dropped else problems
