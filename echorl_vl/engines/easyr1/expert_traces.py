"""The traces of a run's problems, chosen and encoded before EasyR1 starts: its data sets carry them as token ids."""

from __future__ import annotations

from transformers import AutoProcessor, AutoTokenizer

from echorl_vl.algorithms import make_algorithm
from echorl_vl.config import Config
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.traces import TraceEncoder, answer_opening, usable_traces
from echorl_vl.engines.easyr1.preflight import read_model_config
from echorl_vl.engines.local.policy import end_of_turn


def wants_traces(config: Config) -> bool:
    """Whether the run learns from experts' traces."""
    needed = make_algorithm(config.algorithm.name, config.algorithm.options).needs_traces
    return needed and not config.trainer.val_only


def with_usable_traces(config: Config, train: Problems) -> tuple[Problems, TraceEncoder, str]:
    """The problems whose trace can be used, what encodes it, and a line about how many there are.

    Raises UserError where no trace can be used, and for any that can't under `data.bad_traces: error`.
    """
    model, data = config.worker.actor.model, config.data
    path = model.tokenizer_path or model.model_path
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=model.trust_remote_code)
    processor = None
    if hasattr(read_model_config(model), "vision_config"):
        processor = AutoProcessor.from_pretrained(path, trust_remote_code=model.trust_remote_code)
    prompts = PromptEncoder(
        processor, tokenizer, data.format_prompt, override_chat_template=data.override_chat_template
    )
    encoder = TraceEncoder(
        tokenizer,
        end_of_turn(tokenizer, (tokenizer.eos_token_id,)),
        data.max_response_length,
        data.trace_needs_box,
        opening=answer_opening(prompts.render(train[0])),
    )
    found = usable_traces(train, encoder, data.bad_traces)
    return (train.select(found.kept) if found.dropped else train), encoder, f"{train.source}: {found}"
