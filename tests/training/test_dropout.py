"""aa_ray.training.cpu_layers draws torch's dropout distribution from fewer random bits."""

import pytest
import torch
from scipy import stats
from torch import nn

from aa_ray.training.cpu_layers import Dropout, dropout, replace_dropouts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_zeroes_with_probability_p_and_scales_the_rest(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    y = dropout(torch.ones(401, 1001, dtype=dtype), p)
    dropped = (y == 0).flatten()
    assert stats.binomtest(int(dropped.sum()), len(dropped), p).pvalue > 1e-3
    kept = y.flatten()[~dropped]
    assert (kept == kept[0]).all() and float(kept[0]) == pytest.approx(1 / (1 - p), rel=5e-3)


def test_the_four_elements_of_a_draw_are_independent() -> None:
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(100_000, 4), 0.3) == 0).long()
    patterns = (dropped * torch.tensor([8, 4, 2, 1])).sum(dim=1)
    probability = [0.3 ** bin(k).count("1") * 0.7 ** (4 - bin(k).count("1")) for k in range(16)]
    counts = torch.bincount(patterns, minlength=16).numpy()
    expected = [100_000 * p for p in probability]
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_follows_torchs_seed_and_its_gradient_is_its_mask() -> None:
    x = torch.randn(33, 7, requires_grad=True)
    torch.manual_seed(3)
    y = dropout(x, 0.2)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.2), y)
    assert not torch.equal(dropout(x, 0.2), y)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())


@pytest.mark.parametrize("p", [0.0, 1e-9, 1.0])
def test_nothing_and_everything(p: float) -> None:
    x = torch.randn(10)
    assert torch.equal(dropout(x, p), x * (p < 1))


def test_replaces_torchs_modules() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Dropout(0.25))).eval()
    replace_dropouts(model)
    [replaced] = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert type(replaced) is Dropout and replaced.p == 0.25
    x = torch.ones(50)
    assert not (replaced.train()(x) == x).any() or (replaced(x) == 0).any()
    assert torch.equal(replaced.eval()(x), x)
