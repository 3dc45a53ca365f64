"""Query, key and value in one product: aa_ray.training.frozen.projections."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertSelfAttention

from aa_ray.training import frozen
from aa_ray.training.cpu_layers import FrozenLinear, restore_linears

UNITS = 16


def attention() -> BertSelfAttention:
    torch.manual_seed(0)
    config = BertConfig(hidden_size=UNITS, num_attention_heads=2, attn_implementation="eager")
    return BertSelfAttention(config).requires_grad_(False)


def pack(layer: BertSelfAttention) -> None:
    for name in ("query", "key", "value"):
        setattr(layer, name, FrozenLinear(getattr(layer, name)))


def separate(layer: BertSelfAttention, x: Tensor) -> Tensor:
    """Return the three products as torch computes them."""
    parts = layer.query, layer.key, layer.value
    return torch.cat([functional.linear(x, part.weight, part.bias) for part in parts], dim=-1)


@pytest.mark.parametrize("prepare", [lambda layer: None, pack], ids=["torch", "oneDNN"])
def test_one_product_is_three(prepare: Callable[[BertSelfAttention], None]) -> None:
    layer = attention()
    x = torch.randn(2, 5, UNITS, requires_grad=True)
    upstream = torch.randn(2, 5, 3 * UNITS)
    expected = separate(layer, x)
    [gradient] = torch.autograd.grad(expected, x, upstream)
    prepare(layer)
    with torch.inference_mode():  # an evaluation may come first
        torch.testing.assert_close(frozen.projections(layer, x), expected)
    result = frozen.projections(layer, x)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(torch.autograd.grad(result, x, upstream)[0], gradient)


def test_weights_exist_once_and_stay_those_of_the_layers() -> None:
    layer = attention()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    parameters = dict(layer.named_parameters())
    state = torch.get_rng_state()
    frozen.projections(layer, torch.randn(2, UNITS, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), state)
    assert {x.untyped_storage().data_ptr() for x in parameters.values() if x.dim() == 2} == {
        layer.query.weight.untyped_storage().data_ptr()
    }
    after = dict(layer.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is parameters[name] for name in before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def changed(layer: BertSelfAttention) -> None:
    layer.value.weight.add_(1.0)


def moved(layer: BertSelfAttention) -> None:
    layer.to(torch.float64).to(torch.float32)
    changed(layer)


def replaced(layer: BertSelfAttention) -> None:
    layer.key = nn.Linear(UNITS, UNITS).requires_grad_(False)


def packed_and_restored(layer: BertSelfAttention) -> None:
    pack(layer)
    frozen.projections(layer, torch.randn(2, UNITS))
    restore_linears(layer)
    changed(layer)


@pytest.mark.parametrize("change", [changed, moved, replaced, packed_and_restored])
def test_changes_of_the_layers_are_noticed(change: Callable[[BertSelfAttention], None]) -> None:
    layer, x = attention(), torch.randn(2, UNITS)
    frozen.projections(layer, x)
    change(layer)
    torch.testing.assert_close(frozen.projections(layer, x), separate(layer, x))
