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
    "num_generations_eval", "num_iterations", "reward_func_names", "reward_weights", "rollout_func", "temperature",
    "tools", "use_transformers_continuous_batching", "use_vllm",
)  # fmt: skip
"""What is read of a trainer that has been made."""


def find_accuracy(names: list[str], wanted: str | int | None) -> int:
    """Index of the reward function that says "verified".

    Raises:
        UserError: `wanted` is not among `names`, or is None and nothing singles one out.
    """
    listed = ", ".join(names)
    if isinstance(wanted, str):
        if names.count(wanted) != 1:
            raise UserError(f"accuracy_reward is {wanted!r}: wanted one of the reward functions, {listed}")
        return names.index(wanted)
    if wanted is not None:
        if not 0 <= wanted < len(names):
            raise UserError(f"accuracy_reward is {wanted}: wanted 0 to {len(names) - 1}, the index of one of {listed}")
        return wanted
    named = [index for index, name in enumerate(names) if "accuracy" in name.lower()]
    if not named and len(names) > 1:
        raise UserError(
            "several reward functions, and none has accuracy in its name: wanted accuracy_reward, the name or index of "
            f"the one that says whether the answer is right, among {listed}"
        )
    return named[0] if named else 0


def check_hooks(trainer: GRPOTrainer | None = None) -> None:
    """Raises UserError that names each hook which is missing: methods of the class, or attributes of a `trainer`.

    Warns where the version is not the measured one: the hooks may be there and the loss be split otherwise.
    """
    if trainer is not None:
        return _refuse([f"{name} is not there" for name in ATTRIBUTES if not hasattr(trainer, name)])
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
