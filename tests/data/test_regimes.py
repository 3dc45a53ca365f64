"""aa_ray.data.regimes: the paper's regimes, and other numbers of examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.data import regimes
from aa_ray.data.regimes import Regime
from aa_ray.errors import UsageError


def test_the_papers_regimes() -> None:
    assert [regimes.get(r.name) for r in regimes.PAPER] == list(regimes.PAPER)
    assert [r.name for r in regimes.LOW_DATA] == ["100", "300", "500"]
    assert [r.title for r in regimes.PAPER[2:]] == ["Low-data-500", "Full data"]


@given(st.integers(2, regimes.MOST_EXAMPLES))
def test_any_number_is_a_low_data_regime(size: int) -> None:
    regime = regimes.get(str(size))
    assert regime == Regime(str(size), size) and regime.low_data
    assert regime.order < regimes.FULL.order


@pytest.mark.parametrize(
    "name", ["", "0", "1", "-5", "1e3", "0100", "1_000", "³00", "Full", "9" * 5000]
)
def test_what_is_no_regime(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown regime .*the paper has 100, 300, 500\) or full"):
        regimes.get(name)
