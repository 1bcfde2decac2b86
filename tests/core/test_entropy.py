"""Log-probs and entropies compared with the plain formulas: values, gradients and memory."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from echorl_vl.core import log_probs_and_entropy, step_entropies, token_entropy

COMMON = settings(deadline=None, max_examples=25, database=None)


def naive(logits, labels, temperature=1.0, entropy_temperature=None):
    """Log-probs and entropies from one log_softmax in float64."""
    z = torch.log_softmax(logits.double() / temperature, -1)
    z_entropy = torch.log_softmax(logits.double() / (entropy_temperature or temperature), -1)
    p = z_entropy.exp()
    return z.gather(-1, labels[..., None])[..., 0], -torch.where(p > 0, p * z_entropy, 0.0).sum(-1)


def results(function, logits, labels, weights, **options):
    """Values, and the gradient of their weighted sum, as float64."""
    leaf = logits.clone().requires_grad_()
    log_probs, entropy = function(leaf * 1.0, labels, **options)  # * 1.0 makes an activation, as in a model
    loss = (log_probs.double() * weights[0]).sum() + (entropy.double() * weights[1]).sum()
    loss.backward()
    return log_probs.detach().double(), entropy.detach().double(), leaf.grad.double()


@COMMON
@given(
    shape=st.sampled_from([(), (1,), (7,), (3, 5), (2, 0), (2, 3, 4)]),
    vocabulary=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    temperatures=st.sampled_from([(1.0, None), (0.6, None), (1.0, 2.0), (1.5, 1.0)]),
    chunk_rows=st.sampled_from([None, 1, 2, 1000]),
    seed=st.integers(0, 1000),
)
def test_values_and_gradients_equal_the_formulas(shape, vocabulary, dtype, temperatures, chunk_rows, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(*shape, vocabulary, generator=generator) * 4).to(dtype)
    labels = torch.randint(0, vocabulary, shape, generator=generator)
    weights = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    options = {"temperature": temperatures[0], "entropy_temperature": temperatures[1]}
    expected = results(naive, logits, labels, weights, **options)
    actual = results(log_probs_and_entropy, logits, labels, weights, chunk_rows=chunk_rows, **options)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(actual[:2], expected[:2], atol=tolerance, rtol=tolerance)
    tolerance = {torch.bfloat16: 2e-2, torch.float32: 2e-5, torch.float64: 1e-11}[dtype]  # dtype of the gradient
    torch.testing.assert_close(actual[2], expected[2], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("chunk_rows", [None, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_token_entropy_equals_log_probs_and_entropy_and_does_not_modify_the_logits(dtype, chunk_rows):
    logits = (torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(0)) * 4).to(dtype)
    logits[0, 0, :4] = -torch.inf  # forbidden tokens
    labels = torch.full((3, 5), 7)
    before = logits.clone()
    actual = token_entropy(logits, 0.6, chunk_rows)
    assert torch.equal(actual, log_probs_and_entropy(logits, labels, 0.6)[1])
    assert torch.equal(logits, before)
    torch.testing.assert_close(actual.double(), naive(logits, labels, 0.6)[1], atol=2e-5, rtol=2e-5)


def test_invalid_arguments_of_token_entropy_are_errors():
    with pytest.raises(ValueError, match="got \\(\\)"):
        token_entropy(torch.tensor(1.0))
    with pytest.raises(ValueError, match="expected a temperature > 0, got 0"):
        token_entropy(torch.zeros(2, 3), 0)


def test_gradients_pass_gradcheck():
    logits = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 5, (3, 2))
    for options in ({}, {"temperature": 0.7, "entropy_temperature": 1.3}):
        assert torch.autograd.gradcheck(lambda x, o=options: log_probs_and_entropy(x, labels, **o), (logits,))


@pytest.mark.parametrize("only", [0, 1])
def test_the_gradient_of_a_single_result_equals_the_formula(only):
    logits, labels = torch.randn(6, 9), torch.randint(0, 9, (6,))
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    log_probs_and_entropy(ours, labels)[only].sum().backward()
    naive(plain, labels)[only].sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-6, rtol=1e-5)


def test_results_are_float32_or_wider():
    labels = torch.zeros(2, dtype=torch.int64)
    expected = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float64: torch.float64}
    for dtype, result in expected.items():
        assert {out.dtype for out in log_probs_and_entropy(torch.zeros(2, 3, dtype=dtype), labels)} == {result}


def test_the_entropy_can_be_detached():
    logits = torch.randn(4, 6, requires_grad=True)
    log_probs, entropy = log_probs_and_entropy(logits, torch.zeros(4, dtype=torch.int64), entropy_grad=False)
    assert log_probs.requires_grad and not entropy.requires_grad


def test_forbidden_tokens_and_huge_logits_give_finite_results():
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [1e4, 0.0, -1e4], [-torch.inf, 0.0, -torch.inf]], requires_grad=True)
    log_probs, entropy = log_probs_and_entropy(logits, torch.tensor([2, 0, 1]))
    (log_probs.sum() + 1e6 * entropy.sum()).backward()
    expected = naive(logits.detach(), torch.tensor([2, 0, 1]))
    torch.testing.assert_close(entropy.detach().double(), expected[1], atol=1e-6, rtol=1e-6)
    assert logits.grad.isfinite().all() and logits.grad[0, 1] == 0
    torch.testing.assert_close(entropy[1:].detach(), torch.zeros(2))


@pytest.mark.parametrize("view", [lambda x: x[:, 1:-1], lambda x: x.transpose(0, 1), lambda x: x[..., ::2]])
def test_gradients_of_non_contiguous_logits_equal_the_formula(view):
    base = torch.randn(3, 6, 8)
    labels = torch.randint(0, 4, view(base).shape[:-1])
    ours, plain = base.clone().requires_grad_(), base.clone().requires_grad_()
    for leaf, function in ((ours, log_probs_and_entropy), (plain, naive)):
        log_probs, entropy = function(view(leaf * 2.0), labels)
        (log_probs.sum() + 0.3 * entropy.sum()).backward()
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-5, rtol=1e-5)


VIEWS = {
    "itself": lambda x: x,
    "slice of rows": lambda x: x[1:],
    "slice within rows": lambda x: x[:, 1:-1],
    "one position": lambda x: x[:, 2],
    "one distribution": lambda x: x[1, 2],
    "every other entry": lambda x: x[..., ::2],
    "transposed": lambda x: x.transpose(0, 1),
    "vocabulary first in memory": lambda x: x.permute(2, 1, 0),
    "slice of the transposed": lambda x: x.transpose(0, 1)[1:-1, :, 1:],
    "expanded": lambda x: x[:, None].expand(-1, 2, -1, -1),
    "expanded rows": lambda x: x[:1, :1].expand(3, 6, -1),
    "slice of the expanded": lambda x: x[None].expand(2, -1, -1, -1)[:, :, 1:3],
    "overlapping windows": lambda x: x.flatten().unfold(0, 8, 3),
    "four dimensions": lambda x: x.view(3, 2, 3, 8)[:, :, 1:].transpose(1, 2),
    "selected rows": lambda x: x[x[..., 0] > 0],
    "nothing": lambda x: x[:, :0],
}


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_gradients_through_views_of_leaves_and_activations_equal_the_formula(view, dtype, leaf):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(3, 6, 8, generator=generator).to(dtype)
    shape = view(base).shape
    labels = torch.randint(0, shape[-1], shape[:-1], generator=generator)
    weights = torch.randn(2, *shape[:-1], generator=generator, dtype=torch.float64)
    gradients = []
    for function, options in ((naive, {}), (log_probs_and_entropy, {}), (log_probs_and_entropy, {"chunk_rows": 5})):
        source = base.clone().requires_grad_()
        log_probs, entropy = function(view(source if leaf else source * 1.0), labels, **options)
        ((log_probs.double() * weights[0]).sum() + (entropy.double() * weights[1]).sum()).backward()
        gradients.append(source.grad.double())
        assert torch.equal(source.detach(), base)
    tolerance = {torch.float64: 1e-11, torch.float32: 2e-5}.get(dtype, 4e-2)  # dtype of the gradient
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=tolerance, rtol=tolerance)


# Storage of the gradient


def test_the_gradient_is_written_to_the_storage_of_an_activation():
    leaf = torch.randn(4, 6, requires_grad=True)
    logits = leaf * 1.0
    addresses = []
    logits.register_hook(lambda grad: addresses.append(grad.data_ptr()))
    log_probs_and_entropy(logits, torch.zeros(4, dtype=torch.int64))[0].sum().backward()
    assert addresses == [logits.data_ptr()]


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x[1:], lambda x: x.view(2, 2, 6), lambda x: x.view(4, 6)[:]])
def test_the_backward_does_not_modify_a_leaf_or_its_views(view):
    leaf = torch.randn(4, 6, requires_grad=True)
    before = leaf.detach().clone()
    logits = view(leaf)
    log_probs_and_entropy(logits, torch.zeros(logits.shape[:-1], dtype=torch.int64))[0].sum().backward()
    assert torch.equal(leaf.detach(), before)


def test_the_gradient_of_an_expanded_activation_sums_over_its_copies():
    leaf = torch.randn(1, 6, requires_grad=True)
    logits = (leaf * 1.0).expand(3, 6)
    labels = torch.tensor([0, 1, 2])
    (ours,) = torch.autograd.grad(log_probs_and_entropy(logits, labels)[0].sum(), leaf)
    (plain,) = torch.autograd.grad(naive(leaf.expand(3, 6), labels)[0].sum(), leaf)
    torch.testing.assert_close(ours, plain)


def test_a_second_backward_that_uses_the_logits_is_an_error():
    leaf = torch.randn(4, 6, requires_grad=True)
    labels = torch.zeros(4, dtype=torch.int64)
    logits = leaf.exp()  # exp saves its result, which is the logits
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        log_probs_and_entropy(logits, labels)[0].sum().backward()
    logits = leaf * 1.0
    first, second = log_probs_and_entropy(logits, labels)[0].sum(), log_probs_and_entropy(logits, labels)[0].sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (first + second).backward()
    logits = leaf * 1.0
    total = log_probs_and_entropy(logits, labels)[0].sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


# Memory


class LiveMemory(TorchDispatchMode):
    """Peak number of live bytes in the storages that are allocated while the mode is active."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = self.largest = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given_storages = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if _is_tensor(leaf):
                self._count(leaf.untyped_storage(), given_storages)
        return out

    def _count(self, storage, given_storages):
        if storage._cdata in given_storages or storage._cdata in self.known:
            return
        size, key = storage.nbytes(), storage._cdata
        self.known.add(key)
        self.live += size
        self.peak, self.largest = max(self.peak, self.live), max(self.largest, size)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key, size):
        self.known.discard(key)
        self.live -= size


def _is_tensor(leaf):
    return isinstance(leaf, torch.Tensor)


def extra_memory(function, logits, labels):
    """(peak, largest) bytes that forward and backward allocate in addition to the logits, as a share of the logits."""
    memory = LiveMemory()
    edge = torch.autograd.graph.get_gradient_edge(logits)
    with memory:
        log_probs, entropy = function(logits, labels)
        torch.autograd.grad(log_probs.sum() + entropy.sum(), [edge])
    size = logits.untyped_storage().nbytes()
    return memory.peak / size, memory.largest / size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 64, 2048), (256, 512)])
def test_no_second_tensor_of_the_size_of_the_logits_is_allocated(dtype, shape):
    hidden = torch.randn(*shape[:-1], 1, dtype=dtype, requires_grad=True)
    logits = hidden.expand(shape).clone()
    labels = torch.randint(0, shape[-1], shape[:-1])
    peak, largest = extra_memory(log_probs_and_entropy, logits, labels)
    assert largest <= 0.15  # a float32 chunk of a sixteenth of bfloat16 logits
    assert peak <= 0.75


def test_the_memory_measurement_detects_the_naive_formula():
    leaf = torch.randn(64, 2048, requires_grad=True)
    peak, largest = extra_memory(naive, leaf * 1.0, torch.zeros(64, dtype=torch.int64))
    assert peak > 3 and largest >= 2


# Means over steps


def naive_step_entropies(entropy, ids):
    steps = max((max(row, default=-1) for row in ids), default=-1) + 1
    out = []
    for values, row in zip(entropy, ids, strict=True):
        pairs = list(zip(values, row, strict=True))
        by_step = [[value for value, step in pairs if step == number] for number in range(steps)]
        out.append([sum(part) / len(part) if part else float("nan") for part in by_step])
    return torch.tensor(out).view(len(ids), steps)


@COMMON
@given(st.integers(1, 5), st.integers(0, 9), st.integers(0, 10**6))
def test_step_entropies_equal_those_of_a_loop(rows, length, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 2, (rows, length), generator=generator).cumsum(1)
    ids = ids.masked_fill(torch.rand(rows, length, generator=generator) < 0.3, -1)
    entropy = torch.rand(rows, length, generator=generator)
    expected = naive_step_entropies(entropy.tolist(), ids.tolist())
    masked = entropy.masked_fill(ids < 0, torch.nan)  # tokens outside of steps must not be read
    actual = step_entropies(masked, ids)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, equal_nan=True, atol=1e-6, rtol=1e-6)


def test_equal_steps_at_different_positions_compare_equal():
    step = torch.rand(7)
    lead = torch.rand(13)
    entropy = torch.stack([torch.cat([lead, step]), torch.cat([step, lead])])
    ids = torch.stack([torch.tensor([0] * 13 + [1] * 7), torch.tensor([0] * 7 + [1] * 13)])
    means = step_entropies(entropy, ids)
    assert means[0, 1] == means[1, 0] and means[0, 0] == means[1, 1]


def test_invalid_arguments_are_errors():
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        log_probs_and_entropy(torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64))
    for options in ({"temperature": 0.0}, {"entropy_temperature": -1.0}):
        with pytest.raises(ValueError, match="expected a temperature > 0"):
            log_probs_and_entropy(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), **options)
    with pytest.raises(ValueError, match="the same shape"):
        step_entropies(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.int64))
