"""Tests aa_ray.training.cpu_layers against torch's linear layer."""

import pytest
import torch
from torch import nn

from aa_ray.training.cpu_layers import FrozenLinear, replace_linears, restore_linears
from aa_ray.training.cpu_products import onednn_is_expected_faster

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


@pytest.fixture
def avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be a processor on which replacement speeds products up.

    The layers themselves run on any processor with oneDNN.
    """
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


def a_module() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
    return module.requires_grad_(False)


@pytest.mark.usefixtures("avx512")
def test_replaces_linears_at_every_depth_and_keeps_names() -> None:
    module = a_module()
    names = list(module.state_dict())
    x = torch.randn(3, 4)
    expected = module(x)
    replace_linears(module)
    assert not any(isinstance(m, nn.Linear) for m in module.modules())
    assert list(module.state_dict()) == names
    torch.testing.assert_close(module(x), expected)


@pytest.mark.usefixtures("avx512")
def test_restores_the_very_layers_in_the_mode_that_the_model_is_in() -> None:
    module = a_module()
    before = dict(module.named_modules())
    replace_linears(module)
    module.eval()
    restore_linears(module)
    after = dict(module.named_modules())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert not any(m.training for m in module.modules())


def test_layers_stay_where_replacing_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced(dtype: torch.dtype) -> bool:
        module = nn.Sequential(nn.Linear(4, 4)).to(dtype)
        replace_linears(module)
        assert (type(module[0]) is FrozenLinear) == onednn_is_expected_faster(dtype)
        return type(module[0]) is FrozenLinear

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    for capability, expected in (("AVX512", True), ("AVX2", False), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert replaced(torch.float32) == expected
        assert not replaced(torch.bfloat16)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert replaced(torch.bfloat16) and not replaced(torch.float32)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not replaced(torch.bfloat16)
