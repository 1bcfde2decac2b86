"""What the adapter relies on in TRL, checked when a trainer is made."""

from __future__ import annotations

import inspect
import warnings

import trl
from trl import GRPOTrainer

from echorl_vl.errors import UserError

MEASURED = "1.16"
"""The minor version of TRL that the adapter was measured with."""

HOOKS = {
    "_generate_single_turn": ("self", "prompt_ids"),
    "_get_per_token_logps_and_entropies": (
        "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
    ),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_compute_loss": ("self", "model", "inputs"),
}  # fmt: skip
"""Methods of `GRPOTrainer` that are overridden, with the parameters that we rely on."""

ATTRIBUTES = (
    "_metrics", "_step", "_tokenizer", "eos_token_ids", "mask_truncated_completions", "num_generations",
    "num_generations_eval", "num_iterations", "processing_class", "reward_func_names", "reward_funcs",
    "reward_weights", "rollout_func", "temperature", "tools", "use_transformers_continuous_batching", "use_vllm",
)  # fmt: skip
"""What is read of a trainer that has been made."""

SAMPLING = {True: ("vllm_generation",), False: ("generation_config", "generation_kwargs")}
"""What is changed of a trainer that has been made, by whether it samples with vLLM."""


def check_hooks(trainer: GRPOTrainer | None = None) -> None:
    """Raises UserError that names each hook which is missing: methods of the class, or attributes of a `trainer`.

    Warns where the version is not the measured one: the hooks may be there and the loss be split otherwise.
    """
    if trainer is not None:
        needed = (*ATTRIBUTES, *SAMPLING[bool(getattr(trainer, "use_vllm", False))])
        return _refuse([f"{name} is not there" for name in needed if not hasattr(trainer, name)])
    faults = []
    for name, needed in HOOKS.items():
        method = getattr(GRPOTrainer, name, None)
        if method is None:
            faults.append(f"{name} is not there")
        elif missing := [parameter for parameter in needed if parameter not in inspect.signature(method).parameters]:
            faults.append(f"{name} takes no {', '.join(missing)}")
    _refuse(faults)
    if trl.__version__.split(".")[:2] != MEASURED.split("."):
        warnings.warn(
            f"TRL {trl.__version__} is not the {MEASURED} that EchoRL's gradient was measured with", stacklevel=3
        )


def _refuse(faults: list[str]) -> None:
    if faults:
        listed = "; ".join(f"GRPOTrainer.{fault}" for fault in faults)
        raise UserError(f"TRL {trl.__version__}: {listed}. Wanted TRL {MEASURED}: pip install 'echorl-vl[trl]'")
