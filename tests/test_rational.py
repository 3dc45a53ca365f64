"""aa_ray.rational against the released code, torch's own differentiation, and AdapterHub."""

from pathlib import Path

import adapters
import pytest
import torch
from adapters import SeqBnConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import BertConfig, BertModel

from aa_ray.errors import UsageError
from aa_ray.rational import INITIAL_COEFFICIENTS, Rational, Version, activation_name

SETS: list[tuple[Version, str]] = [
    ("A", name) for name in (*INITIAL_COEFFICIENTS, "rand0", "rand1", "rand2")
]
SETS += [("B", "rand0"), ("B", "rand1"), ("B", "rand2")]


def with_coefficients(numerator: Tensor, denominator: Tensor, version: Version) -> Rational:
    rational = Rational(version=version).to(numerator.dtype)
    rational.numerator.data, rational.denominator.data = numerator.clone(), denominator.clone()
    return rational


@pytest.mark.parametrize(("version", "name"), SETS)
def test_equals_the_released_code_in_float64(
    released: dict[str, Tensor], version: Version, name: str
) -> None:
    prefix = f"rat{version}/{name}/"
    rational = with_coefficients(
        released[prefix + "num"].double(), released[prefix + "den"].double(), version
    )
    x = released["rat/x"].double().requires_grad_()
    y = rational(x)
    y.backward(released["rat/upstream"].double())
    torch.testing.assert_close(y.detach(), released[prefix + "y_f64"], rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(x.grad, released[prefix + "grad_x_f64"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        rational.numerator.grad, released[prefix + "grad_num_f64"], rtol=1e-11, atol=1e-11
    )
    # The reference has sign(0) = 0 for a coefficient of 0, the kernel and this code copysign.
    moved = rational.denominator.detach() != 0
    torch.testing.assert_close(
        rational.denominator.grad[moved],  # type: ignore[index]
        released[prefix + "grad_den_f64"][moved],
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize("name", INITIAL_COEFFICIENTS)
def test_initial_coefficients_are_the_released_ones(released: dict[str, Tensor], name: str) -> None:
    rational = Rational(name)
    assert torch.equal(rational.numerator.detach(), released[f"ratA/{name}/num"])
    assert torch.equal(rational.denominator.detach(), released[f"ratA/{name}/den"])
    torch.testing.assert_close(
        rational(released["rat/x"]), released[f"ratA/{name}/y"], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("version", ["A", "B"])
def test_gradients_by_finite_differences(version: Version) -> None:
    torch.manual_seed(0)
    rational = Rational("relu", version).double()  # no coefficient near the kink at 0
    x = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, *_: rational(x), (x, rational.numerator, rational.denominator)
    )


@pytest.mark.parametrize("version", ["A", "B"])
def test_denominator_learns_from_one(version: Version) -> None:
    rational = Rational("one", version)
    x = torch.tensor([0.5, 1.0, 2.0])
    optimizer = torch.optim.SGD(rational.parameters(), lr=0.01)
    rational(x).sum().backward()
    # dR/db_k = -P/Q^2 |x|^k with P = Q = 1
    expected = torch.stack([-(x**k).sum() for k in range(1, 5)])
    torch.testing.assert_close(rational.denominator.grad, expected)
    optimizer.step()
    assert (rational.denominator > 0).all()


def test_plain_abs_would_never_move_the_denominator() -> None:
    x = torch.tensor([0.5, 1.0, 2.0])
    powers = torch.stack([x**k for k in range(1, 5)])
    b = torch.zeros(4, requires_grad=True)
    (1 / (1 + (b[:, None] * powers).abs().sum(0))).sum().backward()
    assert torch.equal(b.grad, torch.zeros(4))  # type: ignore[arg-type]


@given(
    st.sampled_from(sorted(INITIAL_COEFFICIENTS)),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20),
)
def test_finite_for_large_inputs(name: str, values: list[float]) -> None:
    rational = Rational(name)
    x = torch.tensor(values, requires_grad=True)
    y = rational(x)
    y.sum().backward()
    assert torch.isfinite(y).all() and torch.isfinite(x.grad).all()  # type: ignore[arg-type]
    assert all(torch.isfinite(p.grad).all() for p in rational.parameters())  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_evaluated_in_float32(dtype: torch.dtype) -> None:
    rational = Rational("relu")
    x = torch.linspace(-50, 50, 101).to(dtype)  # 50^5 is far beyond float16
    assert torch.equal(rational(x), rational(x.float()).to(dtype))


def test_keeps_any_shape() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(Rational("relu")(x), Rational("relu")(x.flatten()).view(2, 3, 4))


@pytest.mark.parametrize("arguments", [("zero",), ("one", "C")])
def test_unknown_names_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        Rational(*arguments)  # type: ignore[arg-type]


def test_adapterhub_saves_and_loads_it(tmp_path: Path) -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=50)
    model = BertModel(config)
    adapters.init(model)
    model.add_adapter(
        "a", config=SeqBnConfig(non_linearity=activation_name("one"), reduction_factor=16)
    )
    rationals = [m for m in model.modules() if isinstance(m, Rational)]
    assert len(rationals) == 2
    with torch.no_grad():
        rationals[0].denominator[2] = 0.7
    model.save_adapter(str(tmp_path), "a")

    other = BertModel(config)
    adapters.init(other)
    other.load_adapter(str(tmp_path))
    loaded = next(m for m in other.modules() if isinstance(m, Rational))
    assert torch.equal(loaded.denominator, rationals[0].denominator)
