"""EchoRL in TRL: `EchoGRPOTrainer` is TRL's `GRPOTrainer` with the echo term in its loss; docs/trl.md shows its use.

A generation batch, and where each override acts in it:

    sampling     `_generate_single_turn`               entropies of the logits that `generate` samples from
    old pass     `_get_per_token_logps_and_entropies`  entropies of the pass, where the sampling showed none
    rewards      `_calculate_rewards`                  per function: the whole does not say who is verified
    mining       `_generate_and_score_completions`     echo_weights (B, T) and their denominator join the batch
    loss         `_compute_loss`                       the echo term, from the log-probs of the policy loss

TRL shuffles and splits the batch, reuses it over `num_iterations`, sums the gradients of the micro-batches of an
optimizer step and averages them over the ranks. With coef = 0 the losses and weights are TRL's, bit for bit.

B rows of this rank, T the padded completion length. Entropies are in nats.
"""

try:
    import trl  # noqa: F401
except ImportError as error:
    raise ImportError(f"echorl_vl.trl needs TRL ({error}): pip install 'echorl-vl[trl]'") from error

from echorl_vl.trl.trainer import EchoGRPOTrainer

__all__ = ["EchoGRPOTrainer"]
