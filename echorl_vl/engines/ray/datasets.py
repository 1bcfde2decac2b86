"""Problem sets of a run on Ray, written as parquet where a host can't read them as they are."""

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
"""Of the section `data`."""

_WRITTEN_AT_A_TIME = 512  # rows


def load_tokenizer(config: Config) -> tuple[Any, Any | None, ModelFamily | None]:
    """(tokenizer, processor, family) of the policy: no processor for a text model, no family where it is not known.

    Raises UserError where there are none.
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
        from transformers import AutoProcessor  # loads torchvision, of which a text model needs nothing

        return tokenizer, AutoProcessor.from_pretrained(path, trust_remote_code=model.trust_remote_code), family
    except Exception as error:
        raise UserError(f"{path}: tokenizer or processor can't be loaded: {root_cause(error)}") from error


def check_fills_a_batch(config: Config, train: Problems, of: str = "") -> None:
    """Raises UserError for a training set that is smaller than one batch. of: what was asked of its problems."""
    data = config.data
    batch, found = data.mini_rollout_batch_size or data.rollout_batch_size, len(train)
    if found < batch:
        raise UserError(
            f"data.train_files = {data.train_files}: {counted(found, 'problem')}{of}, and one batch takes {batch}"
        )


def write_problems(
    path: Path, problems: Sequence[Problem], schema: pa.Schema, row: Callable[[int, Problem], dict[str, Any]]
) -> None:
    """Writes a set, whole or not at all. row: number and problem -> the row of `schema`."""
    with atomic.replacing(path, durable=False) as partial, pq.ParquetWriter(partial, schema) as writer:
        for first in range(0, len(problems), _WRITTEN_AT_A_TIME):
            part = problems[first : first + _WRITTEN_AT_A_TIME]
            rows = [row(first + number, problem) for number, problem in enumerate(part)]
            writer.write_table(pa.Table.from_pylist(rows, schema))
