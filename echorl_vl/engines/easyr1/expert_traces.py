"""The traces of a run's problems, chosen and encoded before EasyR1 starts: its data sets carry them as token ids."""

from __future__ import annotations

from typing import Any

from transformers import AutoProcessor, AutoTokenizer

from echorl_vl.algorithms import make_algorithm
from echorl_vl.config import Config
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.files import root_cause
from echorl_vl.data.from_config import demonstration_encoder, make_encoder, with_demonstrations
from echorl_vl.data.problem import Problems
from echorl_vl.engines.easyr1.preflight import read_model_config
from echorl_vl.errors import UserError
from echorl_vl.models import has_images
from echorl_vl.models.tokens import end_of_turn


def wants_demonstrations(config: Config) -> bool:
    """Whether the run learns from experts' traces."""
    needed = make_algorithm(config.algorithm.name, config.algorithm.options).needs_demonstrations
    return needed and not config.trainer.val_only


def load_tokenizer(config: Config) -> tuple[Any, Any | None]:
    """(tokenizer, processor) of the policy; no processor for a text model. Raises UserError where there are none."""
    model = config.worker.actor.model
    path = model.tokenizer_path or model.model_path
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=model.trust_remote_code)
        if not has_images(read_model_config(model)):
            return tokenizer, None
        return tokenizer, AutoProcessor.from_pretrained(path, trust_remote_code=model.trust_remote_code)
    except Exception as error:
        raise UserError(f"{path}: tokenizer or processor can't be loaded: {root_cause(error)}") from error


def with_usable_demonstrations(config: Config, train: Problems) -> tuple[Problems, DemonstrationEncoder, str]:
    """The problems whose demonstration can be used, what encodes it, and a line about how many there are.

    Raises UserError where none can be used, and for any that can't under `data.bad_traces: error`.
    """
    tokenizer, processor = load_tokenizer(config)
    prompts = make_encoder(config, tokenizer, processor)
    encoder = demonstration_encoder(config, prompts, train[0], end_of_turn(tokenizer, (tokenizer.eos_token_id,)))
    notes: list[str] = []
    return with_demonstrations(config, train, encoder, notes.append), encoder, notes[0]
