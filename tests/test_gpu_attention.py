"""Compares attention without padding on a GPU with the CPU, and looks at its dropout.

Run with `pytest -m gpu`.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.training import unpadded, varlen
from aa_ray.training.attention import attention
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.random_encoders import without_dropout
from aa_ray.training.varlen import Kernel, Sequences
from tests.training.test_loop import examples

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU"),
]

GPU = "cuda"


@pytest.fixture(autouse=True)
def full_precision() -> None:
    """Restore full precision, since a worker with tf32 changes it for the whole process."""
    torch.set_float32_matmul_precision("highest")


HEADS, UNITS = 16, 64  # of BERT-large
LENGTHS = [3, 128, 1, 40, 77, 8, 16, 64, 65, 127]
KERNELS = [
    (varlen.flash, torch.bfloat16),
    (varlen.efficient, torch.bfloat16),
    (varlen.efficient, torch.float32),
]


def sequences_of(lengths: list[int], device: str) -> Sequences:
    ends = torch.tensor([0, *lengths]).cumsum(0).int()
    return Sequences(ends.to(device), max(lengths))


def with_gradients(
    kernel: Kernel, inputs: list[Tensor], upstream: Tensor, sequences: Sequences
) -> list[Tensor]:
    """Return output and gradients of query, key and value, as float32 on the CPU."""
    query, key, value = (x.to(sequences.ends.device).requires_grad_() for x in inputs)
    output = kernel(query, key, value, sequences, 0.0)
    gradients = torch.autograd.grad(output, (query, key, value), upstream.to(output.device))
    return [x.detach().float().cpu() for x in (output, *gradients)]


@pytest.mark.parametrize(("kernel", "dtype"), KERNELS)
def test_attention_kernels_against_the_cpu(kernel: Kernel, dtype: torch.dtype) -> None:
    """Compares outputs and gradients of every sequence, short and long."""
    torch.manual_seed(0)
    *inputs, upstream = torch.randn(4, sum(LENGTHS), HEADS, UNITS).to(dtype)
    expected, actual = (
        with_gradients(compute, inputs, upstream, sequences_of(LENGTHS, device))
        for compute, device in ((varlen.plain, "cpu"), (kernel, GPU))
    )
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-3
    for one, other in zip(expected, actual, strict=True):
        for of_one, of_other in zip(one.split(LENGTHS), other.split(LENGTHS), strict=True):
            # The gradients of query and key are 0 where a sequence has one token.
            assert (of_one - of_other).norm() <= tolerance * max(of_one.norm(), 1.0)


def padded(query: Tensor, key: Tensor, value: Tensor, of: Sequences, p: float) -> Tensor:
    """Return torch's attention with a mask, as training uses it where no kernel works."""
    sizes = of.ends.diff().tolist()
    q, k, v = (
        pad_sequence(x.split(sizes), batch_first=True).transpose(1, 2) for x in (query, key, value)
    )  # [N, heads, longest, units]
    places = torch.arange(of.longest, device=query.device)
    blocked = torch.where(places < of.ends.diff()[:, None], 0.0, -torch.inf).to(query.dtype)
    blocked = blocked[:, None, None].expand(-1, 1, of.longest, -1)
    attended = nn.functional.scaled_dot_product_attention(q, k, v, blocked, p).transpose(1, 2)
    return torch.cat([x[:n] for x, n in zip(attended, sizes, strict=True)])


def training_kernel(dtype: torch.dtype) -> Kernel:
    """Return the attention of a training step: a kernel that drops correctly, or padding."""
    return varlen.kernel.__wrapped__(torch.device(GPU, 0), dtype, HEADS, UNITS, True) or padded


def dropped_weights(
    attend: Kernel, query: Tensor, key: Tensor, sequences: Sequences, p: float
) -> Tensor:
    """Return the weights after dropout, [n, heads, longest], read off through one-hot values."""
    sizes = sequences.ends.diff().tolist()
    place = torch.cat([torch.arange(n) for n in sizes]).to(query.device)
    weights = torch.zeros(*query.shape[:2], sequences.longest, device=query.device)
    for start in range(0, sequences.longest, UNITS):
        end = min(start + UNITS, sequences.longest)
        shown = (place[:, None] == torch.arange(start, start + UNITS, device=query.device)).to(key)
        torch.manual_seed(0)
        output = attend(query, key, shown[:, None].expand_as(key).contiguous(), sequences, p)
        weights[..., start:end] = output[..., : end - start].float()
    return weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_in_training_is_dropout(dtype: torch.dtype) -> None:
    """Recovers the mask; the output and all gradients follow from it, and heads differ."""
    p, attend, sequences = 0.1, training_kernel(dtype), sequences_of(LENGTHS, GPU)
    torch.manual_seed(1)
    *inputs, upstream = torch.randn(4, sum(LENGTHS), HEADS, UNITS, device=GPU).to(dtype)
    query, key, value = (x.requires_grad_() for x in inputs)
    with torch.no_grad():
        kept = dropped_weights(attend, query, key, sequences, p) > 0
    torch.manual_seed(0)
    output = attend(query, key, value, sequences, p)
    actual = [output, *torch.autograd.grad(output, (query, key, value), upstream)]
    exact = [x.detach().float().requires_grad_() for x in (query, key, value)]
    parts, at = [], 0
    for n in LENGTHS:
        q, k, v = (x[at : at + n].transpose(0, 1) for x in exact)  # [heads, n, units]
        weights = (q @ k.transpose(1, 2) * UNITS**-0.5).softmax(dim=-1)
        weights = weights * kept[at : at + n, :, :n].transpose(0, 1) / (1 - p)
        parts.append((weights @ v).transpose(0, 1))
        at += n
    expected = [torch.cat(parts), *torch.autograd.grad(torch.cat(parts), exact, upstream.float())]
    for one, other in zip(actual, expected, strict=True):
        assert (one.float() - other).norm() <= 1e-2 * other.norm()
    real = torch.cat([(torch.arange(max(LENGTHS)) < n).expand(n, -1) for n in LENGTHS]).to(GPU)
    assert kept.transpose(1, 2)[real].float().mean().item() == pytest.approx(1 - p, abs=5e-3)
    assert (kept[:, 0] != kept[:, 1])[real].float().mean() > p  # 2 p (1 - p) on average


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_in_training_has_its_mean_and_variance(dtype: torch.dtype) -> None:
    """With values of 1, an output is the share of probability kept, divided by 1 - p."""
    p, length, repeats, attend = 0.1, 64, 256, training_kernel(dtype)
    sequences = sequences_of([length] * repeats, GPU)
    shape = (length * repeats, HEADS, UNITS)
    uniform = torch.zeros(shape, dtype=dtype, device=GPU)  # each key has probability 1 / length
    ones = torch.ones(shape, dtype=dtype, device=GPU, requires_grad=True)
    torch.manual_seed(0)
    kept = attend(uniform, uniform, ones, sequences, p)
    again = attend(uniform, uniform, ones, sequences, p)
    assert not torch.equal(kept, again)
    torch.manual_seed(0)
    assert torch.equal(attend(uniform, uniform, ones, sequences, p), kept)
    outputs = kept.detach().float()[..., 0]
    expected = (p / (1 - p) / length) ** 0.5  # standard deviation of a binomial share
    assert outputs.mean().item() == pytest.approx(1, abs=5e-3)
    assert outputs.std().item() == pytest.approx(expected, rel=0.05)
    # The backward pass uses the forward pass's dropout mask.
    [gradient] = torch.autograd.grad(kept.float().sum(), ones)
    per_sequence = gradient.float()[..., 0].view(repeats, length, HEADS).sum(dim=1)
    forward = outputs.view(repeats, length, HEADS).sum(dim=1)
    torch.testing.assert_close(per_sequence, forward, rtol=1e-2, atol=0.3)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.float32, varlen.efficient), (torch.bfloat16, varlen.flash)]
)
def test_there_is_a_kernel_for_evaluation(dtype: torch.dtype, expected: Kernel) -> None:
    """A kernel exists on GPUs that flash attention supports, those with native bfloat16."""
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("flash attention needs an NVIDIA GPU of compute capability 8.0")
    state = torch.cuda.get_rng_state()
    assert varlen.kernel.__wrapped__(torch.device(GPU, 0), dtype, HEADS, UNITS) is expected
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize("copies", [1, 3])
def test_attention_is_that_of_groups(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """Runs with and without the kernel on one batch; its copies stand for several trials."""
    bert = without_dropout(freeze(model.load(tiny.path), GPU))
    layer = bert.base_model.encoder.layer[0].attention.self
    batch, _ = unpadded.pack([examples(32)], [np.arange(32)], bert.device)
    hidden = torch.randn(copies, batch.num_tokens, 32, device=GPU)
    real = (batch.example_of_token >= 0).repeat(copies, 1)
    results = []
    for kernel in (varlen.kernel(bert.device, torch.float32, 2, 16), None):
        monkeypatch.setattr(varlen, "kernel", lambda *_, kernel=kernel: kernel)
        x = hidden.clone().requires_grad_()
        output = attention(layer, x, batch)
        [gradient] = torch.autograd.grad(output[real].sum(), x)
        results.append((output.detach()[real], gradient))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
