"""Interpolations: valid and invalid ones, and that none runs code."""

from __future__ import annotations

from pathlib import Path

import pytest
from refused import Write, error_of

from echorl_vl.config import load_config


def test_interpolation(minimal: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHO_TEST_SEED", "11")
    text = minimal.read_text().replace("global_batch_size: 8", "global_batch_size: ${data.rollout_batch_size}")
    text = text.replace("  logger:", "  experiment_name: run-${worker.rollout.n}\n  logger:")
    text += "echo:\n  seed: ${oc.env:ECHO_TEST_SEED}\n"
    overrides = [
        "data.rollout_batch_size=6",
        "worker.rollout.seed=${trainer.max_bad_steps}",
        "worker.ref.fsdp=${worker.actor.fsdp}",
        "worker.actor.fsdp.torch_dtype=bf16",
        "worker.reward.reward_function_kwargs={limit: '${data.max_response_length}'}",
    ]
    config = load_config(write(text), overrides)
    assert config.worker.actor.global_batch_size == 6
    assert config.trainer.experiment_name == "run-4"
    assert config.echo.seed == 11
    assert config.worker.rollout.seed == 5
    assert config.worker.ref.fsdp.torch_dtype == "bf16"
    assert config.worker.reward.reward_function_kwargs == {"limit": 512}


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("${nowhere.at.all}", "nowhere"),
        ("${data.seed}", "itself"),
        ("${oc.env:ECHO_TEST_NOT_SET}", "ECHO_TEST_NOT_SET"),
        ("${oc.decode:1}", "'oc.decode' is not allowed"),
        ("${ours:1}", "'ours' is not allowed"),
        ("${${data.prompt_key}:1}", "is not allowed"),
        ("${oc.env:A,${ours:1}}", "'ours' is not allowed"),
        (r"${oc.env:A,'}'}\${ours:1}", "expected an int"),  # the second one is escaped, and stays a string
        (r"\\${ours:1}", "'ours' is not allowed"),
        ("${data.prompt_key}", "expected an int"),
        ("'${data.prompt_key'", "data.seed"),
    ],
)
def test_bad_interpolation(minimal: Path, value: str, part: str) -> None:
    message = error_of(minimal, f"data.seed={value}")
    assert message.startswith("data.seed") and "command line" in message and part in message


def test_escaped_interpolation_is_text(minimal: Path) -> None:
    config = load_config(minimal, [r"trainer.experiment_name=a\${ours:1}\${b"])
    assert config.trainer.experiment_name == "a${ours:1}${b"


def test_registered_resolver_never_runs(minimal: Path) -> None:
    from omegaconf import OmegaConf

    ran = []
    OmegaConf.register_new_resolver("echo_test_runs", lambda: ran.append(1), replace=True)
    try:
        assert "not allowed" in error_of(minimal, "data.seed=${echo_test_runs:}")
        assert "not allowed" in error_of(
            minimal, "worker.reward.reward_function_kwargs={a: [{b: '${echo_test_runs:}'}]}"
        )
    finally:
        OmegaConf.clear_resolver("echo_test_runs")
    assert ran == []


def test_a_fault_in_an_interpolated_section_is_reported_for_each_key(minimal: Path) -> None:
    message = error_of(minimal, "worker.critic.optim=${worker.actor.optim}", "worker.actor.optim.betas=[2, 3]")
    assert [line.strip() for line in message.splitlines()[1:]] == [
        f"worker.{role}.optim.betas = [2, 3] (command line): expected at least 0 and below 1"
        for role in ("actor", "critic")
    ]


def test_a_mapping_that_is_extended_keeps_its_interpolations(minimal: Path, write: Write) -> None:
    kwargs = "    reward_function_kwargs: {limit: '${data.max_response_length}'}\n"
    path = write(minimal.read_text().replace("  reward:\n", f"  reward:\n{kwargs}"))
    config = load_config(path, ["worker.reward.reward_function_kwargs.other=1"])
    assert config.worker.reward.reward_function_kwargs == {"limit": 512, "other": 1}
