"""aa_ray.core.rational against the released code, torch's differentiation, and AdapterHub."""

from collections.abc import Callable
from pathlib import Path

import adapters
import pytest
import torch
from adapters import SeqBnConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import BertConfig, BertModel

from aa_ray.core.coefficients import INITIAL_COEFFICIENTS, Version, activation_name
from aa_ray.core.rational import Rational
from aa_ray.core.rational import rational as rationals
from aa_ray.errors import UsageError

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
    # For a coefficient of 0 the reference has sign(0) = 0; the kernel and this code use copysign.
    moved = rational.denominator.detach() != 0
    torch.testing.assert_close(
        rational.denominator.grad[moved],  # type: ignore[index]
        released[prefix + "grad_den_f64"][moved],
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize(("version", "name"), SETS)
def test_equals_the_released_code_in_float32(
    released: dict[str, Tensor], version: Version, name: str
) -> None:
    """Values agree to 1e-6 of the sum of |terms|.

    At a root of P, float32 cannot do better, and neither can the released code.
    """
    prefix = f"rat{version}/{name}/"
    numerator, denominator = released[prefix + "num"], released[prefix + "den"]
    rational = with_coefficients(numerator, denominator, version)
    x = released["rat/x"].clone().requires_grad_()
    y = rational(x)
    y.backward(released["rat/upstream"])
    powers = x.detach().double()[:, None] ** torch.arange(6)
    ratio = released[prefix + "y_f64"] / (powers * numerator).sum(1)  # 1 / Q
    magnitude = (powers * numerator).abs().sum(1) * ratio
    assert ((y.detach() - released[prefix + "y_f64"]).abs() <= 1e-6 * magnitude).all()

    def close(found: Tensor | None, expected: Tensor) -> None:
        assert found is not None
        bound = 2e-6 * expected.abs().max().item()
        torch.testing.assert_close(found, expected.float(), rtol=0, atol=bound)

    close(x.grad, released[prefix + "grad_x_f64"])
    close(rational.numerator.grad, released[prefix + "grad_num_f64"])
    moved = denominator != 0  # the reference has sign(0) = 0 (see above)
    if moved.any():
        found = rational.denominator.grad
        close(found[moved], released[prefix + "grad_den_f64"][moved])  # type: ignore[index]


@pytest.mark.parametrize("name", INITIAL_COEFFICIENTS)
def test_initial_coefficients_are_the_released_ones(released: dict[str, Tensor], name: str) -> None:
    rational = Rational(name)
    assert torch.equal(rational.numerator.detach(), released[f"ratA/{name}/num"])
    assert torch.equal(rational.denominator.detach(), released[f"ratA/{name}/den"])


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
    x = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD(rational.parameters(), lr=0.01)
    rational(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros(3))  # type: ignore[arg-type]  # layers below learn nothing yet
    x = x.detach()
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


DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("version", ["A", "B"])
@given(
    st.sampled_from(DTYPES),
    st.sampled_from(sorted(INITIAL_COEFFICIENTS)),
    st.lists(st.floats(-1e4, 1e4, width=16), min_size=1, max_size=20),
    st.floats(0, 1e3, width=16),
)
def test_no_parameter_turns_nan_or_infinite(
    version: Version, dtype: torch.dtype, name: str, values: list[float], upstream: float
) -> None:
    """Takes three clipped Adam steps as in training, with inputs up to 1e4 (where x^5 is 1e20).

    The activation's output itself may leave the range of float16, since P has a higher order
    than Q. If that makes a trial's loss infinite, the trial ends (aa_ray.training.loop).
    """
    rational = Rational(name, version)
    optimizer = torch.optim.Adam(rational.parameters(), lr=0.01)
    for _ in range(3):
        x = torch.tensor(values).to(dtype).requires_grad_()
        y = rational(x)
        y.backward(torch.full_like(y, upstream))
        assert y.dtype == dtype and x.grad is not None
        if dtype != torch.float16:
            assert torch.isfinite(y).all() and torch.isfinite(x.grad).all()
        torch.nn.utils.clip_grad_norm_(rational.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert all(torch.isfinite(p).all() for p in rational.parameters())


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


@pytest.mark.parametrize("version", ["A", "B"])
def test_rationals_side_by_side_equal_single_ones(version: Version) -> None:
    torch.manual_seed(0)
    modules = [Rational(name, version) for name in ("relu", "one", "tanh")]
    x, upstream = torch.randn(3, 5, 70), torch.randn(3, 5, 70)
    expected = [module(part) for module, part in zip(modules, x, strict=True)]
    for y, part in zip(expected, upstream, strict=True):
        y.backward(part)
    numerators = torch.stack([m.numerator.detach() for m in modules]).requires_grad_()
    denominators = torch.stack([m.denominator.detach() for m in modules]).requires_grad_()
    together = rationals(x, numerators, denominators, version, "kernel")
    together.backward(upstream)
    torch.testing.assert_close(together, torch.stack(expected))
    for k, module in enumerate(modules):
        torch.testing.assert_close(numerators.grad[k], module.numerator.grad)  # type: ignore[index]
        torch.testing.assert_close(denominators.grad[k], module.denominator.grad)  # type: ignore[index]


def test_saves_its_input_and_coefficients_alone() -> None:
    rational = Rational("relu")
    x = torch.randn(1000, requires_grad=True)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        rational(x)
    assert sorted(t.numel() for t in kept) == [4, 6, 1000]
    assert any(t.data_ptr() == x.data_ptr() for t in kept)  # the input itself, not a copy


def test_gradients_are_the_same_every_time() -> None:
    rational = Rational("relu")
    x, upstream = torch.randn(100_003), torch.randn(100_003)
    found = []
    for _ in range(2):
        rational.zero_grad()
        rational(x).backward(upstream)
        found.append([p.grad.clone() for p in rational.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_works_under_autocast() -> None:
    rational, linear = Rational("relu"), torch.nn.Linear(8, 8)
    x = torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = rational(linear(x))
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    expected = rational(linear(x))
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    assert rational.numerator.grad is not None and linear.weight.grad is not None


# Torch's compiler instantiates the function's class, which torch itself deprecates.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("version", ["A", "B"])
def test_works_under_torch_compile(version: Version) -> None:
    """The rational compiles to one graph; this backend needs no compiler."""
    rational = Rational("relu", version)
    compiled = torch.compile(rational, backend="aot_eager", fullgraph=True)
    x, upstream = torch.randn(2, 5, 7, requires_grad=True), torch.randn(2, 5, 7)

    def gradients(function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        y = function(x)
        return [y, *torch.autograd.grad(y, [x, rational.numerator, rational.denominator], upstream)]

    for a, b in zip(gradients(compiled), gradients(rational), strict=True):
        torch.testing.assert_close(a, b)
