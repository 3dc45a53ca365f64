"""aa_ray.frozen_linear against torch's own linear layer."""

import torch
from torch import nn

from aa_ray.frozen_linear import FrozenLinear, replace_linears


def test_same_output_and_input_gradient_as_linear() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 96).requires_grad_(False)
    x = torch.randn(3, 5, 48, requires_grad=True)
    upstream = torch.randn(3, 5, 96)
    linear(x).backward(upstream)
    expected, x.grad = x.grad, None
    output = FrozenLinear(linear)(x)
    output.backward(upstream)
    torch.testing.assert_close(output, linear(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad, expected, rtol=1e-5, atol=1e-5)


def test_no_backward_where_nothing_below_is_trained() -> None:
    layer = FrozenLinear(nn.Linear(4, 4).requires_grad_(False))
    assert not layer(torch.randn(2, 4)).requires_grad


def test_replaces_linears_at_every_depth_and_keeps_names() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
    module.requires_grad_(False)
    names = list(module.state_dict())
    x = torch.randn(3, 4)
    expected = module(x)
    replace_linears(module)
    assert not any(isinstance(m, nn.Linear) for m in module.modules())
    assert list(module.state_dict()) == names
    torch.testing.assert_close(module(x), expected)
