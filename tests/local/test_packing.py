"""Attention layouts with shared prompts, compared with loops over rows and tokens."""

from __future__ import annotations

import pytest
import torch

from echorl_vl.engines.local.attention import Ragged, take_rows
from echorl_vl.engines.local.kv_cache import PromptCache, ResponseCache
from echorl_vl.engines.local.packing import PackedRows

CPU = torch.device("cpu")
HEADS, KV_HEADS, DIM, SCALE = 4, 2, 6, 0.4


def random_qkv(tokens: int, seed: int = 0):
    noise = torch.Generator().manual_seed(seed)
    shapes = [(1, heads, tokens, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    return [torch.randn(s, generator=noise, dtype=torch.float64, requires_grad=True) for s in shapes]


def naive_attention(query, key, value, sees: list[list[int]]) -> torch.Tensor:
    """(1, N, heads, d): token i attends to the tokens in sees[i]."""
    out = []
    for i, seen in enumerate(sees):
        heads = []
        for h in range(query.shape[1]):
            kv = h // (query.shape[1] // key.shape[1])
            weights = torch.softmax(key[0, kv, seen] @ query[0, h, i] * SCALE, 0)
            heads.append(weights @ value[0, kv, seen])
        out.append(torch.stack(heads))
    return torch.stack(out)[None]


@pytest.mark.parametrize("lengths", [[3, 3], [2, 5, 1], [4, 0, 2], [0, 3]])
def test_padding_is_undone_by_flattening_with_its_gradients(lengths):
    total = sum(lengths)
    x = torch.randn(1, 2, total, 3, dtype=torch.float64, requires_grad=True)
    rows = Ragged(torch.tensor(lengths), CPU)
    padded = rows.pad(x)
    start = 0
    for row, length in enumerate(lengths):
        assert torch.equal(padded[row, :, :length], x[0, :, start : start + length])
        start += length
    assert torch.equal(rows.flatten(padded), x[0].transpose(0, 1))
    weights = torch.randn(total, 2, 3, dtype=torch.float64)
    (grad,) = torch.autograd.grad((rows.flatten(padded.sin()) * weights).sum(), x)
    assert torch.allclose(grad[0].transpose(0, 1), weights * x[0].transpose(0, 1).cos())


def test_take_rows_equals_indexing_with_repeated_rows():
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([1, 1, 4, 0, 1])
    weights = torch.randn(5, 2, 3, dtype=torch.float64)
    assert torch.equal(take_rows(x, index), x[index])
    (grad,) = torch.autograd.grad((take_rows(x, index).sin() * weights).sum(), x)
    (expected,) = torch.autograd.grad((x[index].sin() * weights).sum(), x)
    assert torch.allclose(grad, expected)


def test_the_gradient_of_take_rows_does_not_depend_on_the_order_of_threads():
    """Otherwise equal runs differ in the last bit of some steps, more often on a busy machine."""
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(300, 128, generator=noise, requires_grad=True)
    index = torch.cat([torch.tensor([row // 4, *range(100, 130)]) for row in range(16)])
    out = torch.randn(len(index), 128, generator=noise)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, *others = (torch.autograd.grad(take_rows(x, index), x, out)[0] for _ in range(500))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(first, other) for other in others)


CASES = [  # prompt lengths, prompt of each response, response lengths
    ([4, 4], [0, 0, 1, 1], [3, 3, 3, 3]),
    ([2, 5, 3], [1, 0, 1, 2], [4, 1, 6, 2]),
    ([3], [0, 0], [1, 1]),
]


def rows_by_hand(prompt_lengths, prompt_index, lengths):
    """The tokens that each token of the packed row attends to, and the predictors of each response, by loops."""
    starts = [sum(prompt_lengths[:g]) for g in range(len(prompt_lengths))]
    sees = [list(range(s, s + i + 1)) for s, n in zip(starts, prompt_lengths, strict=True) for i in range(n)]
    predictors = []
    for g, length in zip(prompt_index, lengths, strict=True):
        prompt, begin = list(range(starts[g], starts[g] + prompt_lengths[g])), len(sees)
        sees += [prompt + list(range(begin, begin + i + 1)) for i in range(length - 1)]
        predictors += [prompt[-1], *range(begin, begin + length - 1)]
    return sees, predictors


@pytest.mark.parametrize("case", CASES)
def test_packed_rows_equal_loops(case):
    prompt_lengths, prompt_index, lengths = case
    layout = PackedRows(*map(torch.tensor, case), CPU)
    sees, predictors = rows_by_hand(*case)
    assert layout.predictors().tolist() == predictors

    own = [torch.arange(n).expand(3, -1) * 2 for n in prompt_lengths]
    following = torch.tensor([100 * (g + 1) for g in range(len(prompt_lengths))])
    by_hand = [2 * i for n in prompt_lengths for i in range(n)]
    by_hand += [100 * (g + 1) + i for g, n in zip(prompt_index, lengths, strict=True) for i in range(n - 1)]
    assert layout.positions(own, following).tolist() == [by_hand] * 3

    responses = torch.arange(len(lengths) * 6).view(len(lengths), 6)
    inputs = [6 * row + i for row, n in enumerate(lengths) for i in range(n - 1)]
    assert layout.response_inputs(responses).tolist() == inputs

    qkv = random_qkv(len(sees))
    weights = torch.randn(1, len(sees), HEADS, DIM, dtype=torch.float64)
    results = [layout.attend(0, *qkv, SCALE), naive_attention(*qkv, sees)]
    grads = [torch.autograd.grad((r * weights).sum(), qkv) for r in results]
    assert torch.allclose(*results, atol=1e-9)
    for ours, naive in zip(*grads, strict=True):
        assert torch.allclose(ours, naive, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("prompt_lengths", [[3, 3, 3], [2, 5, 3]])
def test_decode_attention_with_compaction_equals_full_attention(prompt_lengths):
    """A prefill of two prompts, then one; 70 steps, which grow the buffers; slots are dropped after 30."""
    lengths = torch.tensor(prompt_lengths)
    q, k, v = (x.detach() for x in random_qkv(int(lengths.sum())))
    bounds = [0, *lengths.cumsum(0).tolist()]
    cache, outs = PromptCache(lengths, CPU), []
    for first, stop in ((0, 2), (2, 3)):
        cache.begin(first, stop)
        part = slice(bounds[first], bounds[stop])
        outs.append(cache.attend(0, q[:, :, part], k[:, :, part], v[:, :, part], SCALE))
    seen = [list(range(bounds[g], bounds[g] + i + 1)) for g in range(3) for i in range(prompt_lengths[g])]
    assert torch.allclose(torch.cat(outs, 1), naive_attention(q, k, v, seen), atol=1e-9)

    responses = ResponseCache(cache, 2, 80)
    parts = [slice(bounds[g], bounds[g + 1]) for g in range(3) for _ in range(2)]
    past = [([k[0, :, part]], [v[0, :, part]]) for part in parts]  # keys and values of each slot's row
    for step in range(70):
        if step == 30:
            responses.select(torch.tensor([0, 2]), torch.tensor([1, 4]), 1)
            past = [past[1], past[4]]
        q, k, v = (x.detach() for x in random_qkv(len(past), seed=step + 1))
        responses.advance()
        out = responses.attend(0, q, k, v, SCALE)
        for i, (keys, values) in enumerate(past):
            keys.append(k[0, :, i : i + 1])
            values.append(v[0, :, i : i + 1])
            row = torch.cat(keys, 1)[None], torch.cat(values, 1)[None]
            expected = naive_attention(q[:, :, i : i + 1], *row, [list(range(row[0].shape[2]))])
            assert torch.allclose(out[0, i], expected[0, 0], atol=1e-6)  # the softmax is in float32
