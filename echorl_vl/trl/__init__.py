"""EchoRL in TRL: `EchoGRPOTrainer` is TRL's `GRPOTrainer` with the echo term in its loss; see docs/trl.md.

The overridden methods, in the order in which a generation batch passes them:

    sampling      `_generate_single_turn`               records entropies of the logits that `generate` samples from
    old log-probs `_get_per_token_logps_and_entropies`  records entropies of this pass if sampling gave none
    rewards       `_calculate_rewards`                  records the reward of each function, for verification
    mining        `_generate_and_score_completions`     adds echo_weights (B, T) and their denominator to the batch
    loss          `_compute_loss`                       adds the echo term, from the log-probs of the policy loss

TRL shuffles and splits the batch, reuses it for `num_iterations`, sums the gradients of the micro-batches of an
optimizer step and averages them over the ranks. With coef = 0 the losses and weights equal TRL's bit for bit.

Shapes: B rows of this rank, T padded completion length. Entropies are in nats.
"""

try:
    import trl  # noqa: F401
except ImportError as error:
    raise ImportError(f"echorl_vl.trl requires TRL ({error}): pip install 'echorl-vl[trl]'") from error

from echorl_vl.trl.trainer import EchoGRPOTrainer

__all__ = ["EchoGRPOTrainer"]
