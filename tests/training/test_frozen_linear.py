"""aa_ray.training.cpu_layers against torch's own linear layer."""

import pytest
import torch
from torch import nn

from aa_ray.training.cpu_layers import FrozenLinear, replace_linears

BF16 = pytest.param(
    torch.bfloat16,
    marks=pytest.mark.skipif(
        not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 on this processor"
    ),
)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_same_output_and_input_gradient_as_linear(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 96).requires_grad_(False).to(dtype)
    x = torch.randn(3, 5, 48, requires_grad=True, dtype=dtype)
    upstream = torch.randn(3, 5, 96).to(dtype)
    linear(x).backward(upstream)
    expected, x.grad = x.grad, None
    output = FrozenLinear(linear)(x)
    output.backward(upstream)
    assert output.dtype == dtype
    rtol, atol = (1e-5, 1e-5) if dtype == torch.float32 else (0.02, 0.02)
    torch.testing.assert_close(output, linear(x), rtol=rtol, atol=atol)
    torch.testing.assert_close(x.grad, expected, rtol=rtol, atol=atol)


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


def test_without_bfloat16_on_the_processor_layers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    half, single = (nn.Sequential(nn.Linear(4, 4)).to(d) for d in (torch.bfloat16, torch.float32))
    for module in (half, single):
        replace_linears(module)
    assert type(half[0]) is nn.Linear and type(single[0]) is FrozenLinear
