"""aa_ray.training.varlen without a GPU: where sequences end, the check of a kernel, the fallback.

tests/test_gpu_attention.py runs the kernels.
"""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from transformers import BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.training import unpadded, varlen
from aa_ray.training.attention import attention
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.varlen import Sequences
from tests.training.test_unpadded import BATCHES, sets

CPU = torch.device("cpu")


@given(BATCHES)
def test_each_example_is_a_sequence(lengths: list[list[int]]) -> None:
    """Spare tokens form sequences too, none longer than the longest example."""
    batch, _ = unpadded.pack(sets(lengths), [np.arange(len(lengths[0]))] * len(lengths), CPU)
    ends = batch.once.ends
    assert ends.dtype == torch.int32 and ends[0] == 0 and ends[-1] == batch.num_tokens
    sizes = ends.diff()
    assert (sizes > 0).all() and sizes.max() == batch.once.longest == max(map(max, lengths))
    of_token = batch.example_of_token.flatten()
    real = []
    for tokens in of_token.split(sizes.tolist()):
        assert len(tokens.unique()) == 1  # one example's tokens, or spare ones
        if tokens[0] >= 0:
            real.append(len(tokens))
    assert real == [n for of_context in lengths for n in of_context]


def test_copies_of_sequences_follow_each_other() -> None:
    once = Sequences(torch.tensor([0, 3, 5], dtype=torch.int32), 3)
    assert once.repeated(1) is once
    thrice = once.repeated(3)
    assert thrice.ends.tolist() == [0, 3, 5, 8, 10, 13, 15] and thrice.ends.dtype == torch.int32
    assert thrice.longest == 3


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path))


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("contexts", [1, 2])
def test_it_computes_what_attention_in_groups_does(
    bert: BertForSequenceClassification,
    monkeypatch: pytest.MonkeyPatch,
    copies: int,
    contexts: int,
) -> None:
    """Compares the outputs of all tokens that are read, and the gradient, with dropout off."""
    lengths = [[3, 17, 1, 9, 9, 2, 30, 8, 5, 11], [2, 2, 2, 2, 2, 2, 2, 2, 2, 40]][:contexts]
    batch, _ = unpadded.pack(sets(lengths), [np.arange(10)] * contexts, CPU)
    layer = bert.base_model.encoder.layer[0].attention.self.eval()
    torch.manual_seed(0)
    hidden = torch.randn(copies * contexts, batch.num_tokens // contexts, 32)
    real = (batch.example_of_token >= 0).repeat(copies, 1)
    upstream = torch.randn_like(hidden) * real[..., None]
    results = []
    for kernel in (None, varlen.plain):
        monkeypatch.setattr(varlen, "kernel", lambda *_, kernel=kernel: kernel)
        x = hidden.clone().requires_grad_()
        output = attention(layer, x, batch)
        [gradient] = torch.autograd.grad(output, x, upstream)
        results.append((output.detach()[real], gradient))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_there_is_no_kernel_on_a_cpu() -> None:
    assert varlen.kernel(CPU, torch.float32, 4, 64) is None


def _shifted(query: Tensor, key: Tensor, value: Tensor, of: Sequences, p: float) -> Tensor:
    """Compute attention that is wrong at the boundaries of sequences."""
    return varlen.plain(query, key, value, of, p).roll(1, dims=0)


def _untrained(query: Tensor, key: Tensor, value: Tensor, of: Sequences, p: float) -> Tensor:
    """Compute correct attention, but lose the gradient of the queries."""
    return varlen.plain(query.detach() + 0 * query, key, value, of, p)


class _OtherMask(torch.autograd.Function):
    """Dropout whose backward pass uses a different mask from its forward pass."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, p: float) -> Tensor:
        ctx.p = p
        return torch.dropout(value, p, train=True)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return torch.dropout(upstream, ctx.p, train=True), None


def _forgetful(query: Tensor, key: Tensor, value: Tensor, of: Sequences, p: float) -> Tensor:
    """Compute attention that is correct only without dropout."""
    return varlen.plain(query, key, _OtherMask.apply(value, p), of, 0.0)


def _alike(query: Tensor, key: Tensor, value: Tensor, of: Sequences, p: float) -> Tensor:
    """Compute attention in which all heads drop the same weights."""
    state = torch.get_rng_state()
    heads = []
    for number in range(query.shape[1]):
        torch.set_rng_state(state)
        q, k, v = (x[:, number : number + 1] for x in (query, key, value))
        heads.append(varlen.plain(q, k, v, of, p))
    return torch.cat(heads, dim=1)


@pytest.mark.parametrize("kernel", [_forgetful, _alike])
def test_a_kernel_with_wrong_dropout_is_used_only_without(kernel: varlen.Kernel) -> None:
    assert varlen.works(kernel, CPU, torch.float32, 4, 64)
    assert not varlen.works(kernel, CPU, torch.float32, 4, 64, dropout=True)
    assert varlen.works(varlen.plain, CPU, torch.float32, 4, 64, dropout=True)


def test_training_asks_for_a_kernel_with_dropout(
    bert: BertForSequenceClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one it pads, while evaluation still uses the kernel."""
    calls = []

    def kernel(*arguments: Any) -> Tensor:
        calls.append(arguments[-1])
        return varlen.plain(*arguments)

    batch, _ = unpadded.pack(sets([[3, 5]]), [np.arange(2)], CPU)
    layer = bert.base_model.encoder.layer[0].attention.self
    layer.dropout.p = 0.1
    hidden = torch.randn(1, batch.num_tokens, 32)
    for training, drops, expected in (
        (True, False, []),
        (False, False, [0.0]),
        (True, True, [0.1]),
    ):
        known = {False: kernel, True: kernel if drops else None}
        monkeypatch.setattr(varlen, "kernel", lambda *key, known=known: known[key[-1]])
        calls.clear()
        attention(layer.train(training), hidden, batch)
        assert calls == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_is_used_only_if_it_agrees_with_plain_attention(dtype: torch.dtype) -> None:
    works = functools.partial(varlen.works, device=CPU, dtype=dtype, heads=4, units=64)
    state = torch.get_rng_state()
    assert works(varlen.plain)
    assert torch.equal(torch.get_rng_state(), state)
    assert not works(_shifted)
    assert not works(_untrained)
    assert not works(varlen.efficient)  # a CPU has no such kernel
    with torch.inference_mode():
        assert works(varlen.plain)


def test_the_first_kernel_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda:0")
    for working, dtype, expected in (
        ({varlen.flash, varlen.efficient}, torch.bfloat16, varlen.flash),
        ({varlen.flash, varlen.efficient}, torch.float32, varlen.efficient),
        ({varlen.efficient}, torch.bfloat16, varlen.efficient),
        (set(), torch.bfloat16, None),
    ):
        monkeypatch.setattr(varlen, "works", lambda k, *_, working=working: k in working)
        assert varlen.kernel.__wrapped__(gpu, dtype, 4, 64) is expected
