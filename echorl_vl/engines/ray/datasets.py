"""Load the tokenizer of a run on Ray, and write problem sets as parquet files that a host can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from echorl_vl.config import Config
from echorl_vl.data.files import root_cause
from echorl_vl.data.problem import Problems
from echorl_vl.engines.resources import read_model_config
from echorl_vl.errors import UserError, counted
from echorl_vl.models import ModelFamily, find_family, has_images
from echorl_vl.outputs import atomic
from echorl_vl.types import Problem

KEYS = ("train_files", "val_files")
"""Keys of the section `data` that name problem sets."""

_WRITTEN_AT_A_TIME = 512  # rows


def load_tokenizer(config: Config) -> tuple[Any, Any | None, ModelFamily | None]:
    """Load the policy's tokenizer and processor.

    Returns:
        (tokenizer, processor, family): no processor for a text model, no family for a model of an unknown one.

    Raises:
        UserError: one of them can't be loaded.
    """
    from transformers import AutoTokenizer

    model = config.worker.actor.model
    path = model.tokenizer_path or model.model_path
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=model.trust_remote_code)
        model_config = read_model_config(model)
        family = find_family(model_config)
        if not has_images(model_config):
            return tokenizer, None, family
        from transformers import AutoProcessor  # loads torchvision, which a text model does not need

        return tokenizer, AutoProcessor.from_pretrained(path, trust_remote_code=model.trust_remote_code), family
    except Exception as error:
        raise UserError(f"{path}: tokenizer or processor can't be loaded: {root_cause(error)}") from error


def check_fills_a_batch(config: Config, train: Problems, of: str = "") -> None:
    """Check that the training set has at least one batch of problems.

    Args:
        config: names the set and the batch size.
        train: the problems.
        of: text that describes the problems, for the message: " of at most 128 tokens".

    Raises:
        UserError: the set is smaller than a batch.
    """
    data = config.data
    batch, found = data.mini_rollout_batch_size or data.rollout_batch_size, len(train)
    if found < batch:
        raise UserError(
            f"data.train_files = {data.train_files}: {counted(found, 'problem')}{of}; expected at least one batch, "
            f"which is {batch}"
        )


def write_problems(
    path: Path, problems: Sequence[Problem], schema: pa.Schema, row: Callable[[int, Problem], dict[str, Any]]
) -> None:
    """Write a problem set atomically. `row` maps the number of a problem and the problem to a row of `schema`."""
    with atomic.replacing(path, durable=False) as partial, pq.ParquetWriter(partial, schema) as writer:
        for first in range(0, len(problems), _WRITTEN_AT_A_TIME):
            part = problems[first : first + _WRITTEN_AT_A_TIME]
            rows = [row(first + number, problem) for number, problem in enumerate(part)]
            writer.write_table(pa.Table.from_pylist(rows, schema))
