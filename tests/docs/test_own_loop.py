"""docs/own_loop.py runs unchanged, and trains a model that GRPO alone would not change."""

from __future__ import annotations

import ast
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from echorl_vl.core import EchoConfig

REPOSITORY = Path(__file__).resolve().parents[2]
LOOP = REPOSITORY / "docs/own_loop.py"


def run(echo: EchoConfig, answers: dict[str, str]) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """Run two steps of plain gradient descent; return the rows of the loop and the change of each parameter."""
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=592, **sizes))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / "echorl_vl/tiny/model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", torch.optim.SGD)  # without a gradient, no step: no weight decay
        rows = list(runpy.run_path(str(LOOP))["train"](model, tokenizer, answers, echo, 1.0, steps=2, n=4, length=16))
    return rows, {name: parameter - before[name] for name, parameter in model.named_parameters()}


def test_the_echo_term_alone_changes_the_model_if_all_rollouts_succeed():
    succeed = {"1 + 1 = ": "", "2 + 3 = ": ""}  # every response contains the empty answer
    rows, moved = run(EchoConfig(include_truncated=True), succeed)
    assert [(row["accuracy"], row["clips"]) for row in rows] == [(1.0, 1)] * 4
    assert all(0 < row["loss"] < 0.01 for row in rows)  # 0.001 times a mean of -log p, over two questions
    assert max(change.abs().max().item() for change in moved.values()) > 0

    rows, moved = run(EchoConfig(coef=0.0, include_truncated=True), succeed)
    assert all(row["loss"] == 0 for row in rows)
    assert all((change == 0).all() for change in moved.values())


def test_the_loop_has_at_most_40_lines():
    assert len(LOOP.read_text().splitlines()) <= 40


@pytest.mark.slow
def test_it_runs_as_a_script_from_any_folder(tmp_path):
    process = subprocess.run([sys.executable, str(LOOP)], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stderr[-2000:]
    rows = [ast.literal_eval(line) for line in process.stdout.splitlines()]
    assert len(rows) == 80
    assert all(math.isfinite(row["loss"]) for row in rows)
