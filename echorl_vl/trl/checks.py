"""The parts of TRL that the adapter depends on, checked when a trainer is created."""

from __future__ import annotations

import inspect
import warnings

import trl
from trl import GRPOTrainer

from echorl_vl.errors import UserError

MEASURED = "1.16"
"""The minor version of TRL that the tests of the gradient ran with."""

HOOKS = {
    "_generate_single_turn": ("self", "prompt_ids"),
    "_get_per_token_logps_and_entropies": (
        "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
    ),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_compute_loss": ("self", "model", "inputs"),
}  # fmt: skip
"""Overridden methods of `GRPOTrainer`, with the parameters that the adapter uses."""

ATTRIBUTES = (
    "_metrics", "_step", "_tokenizer", "eos_token_ids", "mask_truncated_completions", "num_generations",
    "num_generations_eval", "num_iterations", "processing_class", "reward_func_names", "reward_funcs",
    "reward_weights", "rollout_func", "temperature", "tools", "use_transformers_continuous_batching", "use_vllm",
)  # fmt: skip
"""Attributes of a trainer that the adapter reads."""

SAMPLING = {True: ("vllm_generation",), False: ("generation_config", "generation_kwargs")}
"""Attributes of a trainer that the adapter changes, by whether it samples with vLLM."""


def check_hooks(trainer: GRPOTrainer | None = None) -> None:
    """Check the methods of `GRPOTrainer`, or the attributes of a `trainer`.

    Warns if the version of TRL is not the tested one, because it may scale the loss differently with the same methods.

    Raises:
        UserError: methods, parameters or attributes are missing; names all of them.
    """
    if trainer is not None:
        needed = (*ATTRIBUTES, *SAMPLING[bool(getattr(trainer, "use_vllm", False))])
        return _raise_for([f"{name} does not exist" for name in needed if not hasattr(trainer, name)])
    faults = []
    for name, needed in HOOKS.items():
        method = getattr(GRPOTrainer, name, None)
        if method is None:
            faults.append(f"{name} does not exist")
        elif missing := [parameter for parameter in needed if parameter not in inspect.signature(method).parameters]:
            faults.append(f"{name} has no parameter {', '.join(missing)}")
    _raise_for(faults)
    if trl.__version__.split(".")[:2] != MEASURED.split("."):
        warnings.warn(f"EchoRL is tested with TRL {MEASURED}, got TRL {trl.__version__}", stacklevel=3)


def _raise_for(faults: list[str]) -> None:
    if faults:
        listed = "; ".join(f"GRPOTrainer.{fault}" for fault in faults)
        raise UserError(f"expected TRL {MEASURED} (pip install 'echorl-vl[trl]'), got TRL {trl.__version__}: {listed}")
