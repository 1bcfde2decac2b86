"""A reference for the echo term: row by row and token by token, without code of the package."""

from __future__ import annotations

import torch


def naive_echo_loss(model, tokenizer, groups, temperature=1.0) -> torch.Tensor:
    """L_echo of groups of verified rows (prompt_ids, completion_ids, further arguments of forward).

    For each group: the mean of -log p over the text tokens of the row with the step of highest entropy, up to the end
    of that step. The sum over groups is divided by their number. Completions without an end token are not mined.
    """
    special = set(tokenizer.all_special_ids)
    total = 0.0
    for rows in groups:
        best = None
        for prompt, completion, images in rows:
            if completion[-1] not in special:
                continue
            ids = torch.tensor([prompt + completion])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **images).logits[0].float()
            log_p = torch.log_softmax(logits[len(prompt) - 1 : -1] / temperature, dim=-1)
            prefix, step = [], []
            for place, token in enumerate(completion):
                if token not in special:
                    prefix.append(log_p[place, token])
                    step.append(-(log_p[place].exp() * log_p[place]).sum().item())
                is_end = token not in special and "\n" in tokenizer.decode([token])
                if step and (is_end or place == len(completion) - 1):
                    entropy = sum(step) / len(step)
                    if best is None or entropy > best[0]:
                        best = (entropy, -torch.stack(prefix).mean())
                    step = []
        if best is not None:
            total = total + best[1]
    return total / len(groups)


def naive_echo_gradient(model, tokenizer, groups, temperature=1.0) -> tuple[float, dict[str, torch.Tensor]]:
    """L_echo and its gradient by parameter."""
    model.zero_grad()
    loss = naive_echo_loss(model, tokenizer, groups, temperature)
    loss.backward()
    gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.item(), gradient


def assert_gradients_equal(actual, expected, scale=1.0, tolerance=2e-6) -> None:
    """Compare the gradients of all parameters with a tolerance relative to the largest entry."""
    largest = max(gradient.abs().max().item() for gradient in expected.values()) * scale
    assert largest > 0
    assert actual.keys() >= expected.keys()
    for name, gradient in actual.items():
        scaled = expected[name] * scale if name in expected else torch.zeros_like(gradient)
        assert (gradient - scaled).abs().max().item() < tolerance * max(largest, 1.0), name
