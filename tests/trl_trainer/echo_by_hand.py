"""The echo term of a set of groups, token by token and row by row, without anything of the package."""

from __future__ import annotations

import torch


def naive_echo_loss(model, tokenizer, groups, temperature=1.0) -> torch.Tensor:
    """L_echo of groups: each a list of (prompt_ids, completion_ids, forward's other arguments), all of them verified.

    Per group, the mean of -log p over the text tokens of the row with the step of highest entropy, up to that step's
    end; summed over the groups, divided by their number. A completion that has no end of turn is no candidate.
    """
    special = set(tokenizer.all_special_ids)
    total = 0.0
    for rows in groups:
        best = None
        for prompt, completion, pictures in rows:
            if completion[-1] not in special:
                continue
            ids = torch.tensor([prompt + completion])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **pictures).logits[0].float()
            log_p = torch.log_softmax(logits[len(prompt) - 1 : -1] / temperature, dim=-1)
            prefix, step = [], []
            for place, token in enumerate(completion):
                if token not in special:
                    prefix.append(log_p[place, token])
                    step.append(-(log_p[place].exp() * log_p[place]).sum().item())
                ended = token not in special and "\n" in tokenizer.decode([token])
                if step and (ended or place == len(completion) - 1):
                    entropy = sum(step) / len(step)
                    if best is None or entropy > best[0]:
                        best = (entropy, -torch.stack(prefix).mean())
                    step = []
        if best is not None:
            total = total + best[1]
    return total / len(groups)


def naive_echo_gradient(model, tokenizer, groups, temperature=1.0) -> tuple[float, dict[str, torch.Tensor]]:
    """The value of L_echo and its gradient by parameter."""
    model.zero_grad()
    loss = naive_echo_loss(model, tokenizer, groups, temperature)
    loss.backward()
    gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.item(), gradient


def assert_gradients_equal(found, wanted, scale=1.0, tolerance=2e-6) -> None:
    """Every parameter's gradient, to a tolerance that is relative to the largest entry of the whole."""
    largest = max(gradient.abs().max().item() for gradient in wanted.values()) * scale
    assert largest > 0
    assert found.keys() >= wanted.keys()
    for name, gradient in found.items():
        expected = wanted[name] * scale if name in wanted else torch.zeros_like(gradient)
        assert (gradient - expected).abs().max().item() < tolerance * max(largest, 1.0), name
