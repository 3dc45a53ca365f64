"""aa_ray.switch, in AdapterHub's own layer, against the released code's output sub-layer."""

from collections.abc import Callable
from typing import Any

import adapters
import pytest
import torch
from adapters import SeqBnConfig
from torch import Tensor
from transformers import BertConfig, BertModel

from aa_ray import switch as switch_module
from aa_ray.rational import Rational
from aa_ray.switch import ADAPTER, IDENTITY, Switch, sample_gumbel, switch_weights

SUB = "sub/"


@pytest.fixture
def sub_layer(released: dict[str, Tensor]) -> Callable[[str], Any]:
    """A BERT output sub-layer with an AdapterHub adapter and the reference's weights."""

    def build(coefficients: str) -> Any:
        config = BertConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            vocab_size=9, hidden_dropout_prob=0.0,
        )  # fmt: skip
        model = BertModel(config)
        adapters.init(model)
        activation = "relu" if coefficients == "relu" else "rational:one"
        model.add_adapter("a", config=SeqBnConfig(reduction_factor=16, non_linearity=activation))
        model.set_active_adapters("a")
        output = model.encoder.layer[0].output
        bottleneck = output.adapters["a"]
        pairs = {"dense": output.dense, "LayerNorm": output.LayerNorm,
                 "down": bottleneck.adapter_down[0], "up": bottleneck.adapter_up}  # fmt: skip
        for name, module in pairs.items():
            module.weight.data = released[f"{SUB}{name}.weight"].clone()
            module.bias.data = released[f"{SUB}{name}.bias"].clone()
        if coefficients == "perturbed":
            rational = next(m for m in bottleneck.modules() if isinstance(m, Rational))
            rational.numerator.data = released[SUB + "perturbed_num"].clone()
            rational.denominator.data = released[SUB + "perturbed_den"].clone()
        return output

    return build


def run(output: Any, released: dict[str, Tensor]) -> Tensor:
    return output(released[SUB + "intermediate"], released[SUB + "input_tensor"])


def test_layer_without_adapter(sub_layer: Any, released: dict[str, Tensor]) -> None:
    output = sub_layer("relu").eval()
    del output.adapters["a"]
    torch.testing.assert_close(run(output, released), released[SUB + "leftout/out"])


def check_gradients(bottleneck: Any, released: dict[str, Tensor], reference: str) -> None:
    """Compare the gradient of every trained parameter with the reference's."""
    prefix = f"{SUB}{reference}/grad/"
    adapter = bottleneck.adapter if isinstance(bottleneck, Switch) else bottleneck
    modules = {"down": adapter.adapter_down[0], "up": adapter.adapter_up}
    found = {f"{n}.{p}": getattr(m, p) for n, m in modules.items() for p in ("weight", "bias")}
    if isinstance(bottleneck, Switch):
        found["switch_logits"] = bottleneck.logits
    for rational in (m for m in adapter.modules() if isinstance(m, Rational)):
        found["num"] = rational.numerator
        if rational.denominator.detach().any():
            found["den"] = rational.denominator
        else:  # from f(x) = 1: the kernel moves what the reference's abs leaves at 0 (FACTS D4)
            assert not released[prefix + "den"].any() and rational.denominator.grad.all()  # type: ignore[union-attr]
    stored = {name.removeprefix(prefix) for name in released if name.startswith(prefix)}
    assert stored - {"den"} <= set(found) <= stored
    for name, parameter in found.items():
        expected = released[prefix + name]
        scale = expected.abs().max().item()
        torch.testing.assert_close(
            parameter.grad, expected, rtol=1e-5, atol=1e-5 * scale, msg=f"{reference} {name}"
        )


@pytest.mark.parametrize(
    ("coefficients", "reference"),
    [("relu", "pfeiffer_relu"), ("one", "pfeiffer_rational_one"),
     ("perturbed", "pfeiffer_rational_perturbed")],
)  # fmt: skip
def test_single_adapter(
    sub_layer: Any, released: dict[str, Tensor], coefficients: str, reference: str
) -> None:
    output = sub_layer(coefficients).eval()
    result = run(output, released)
    torch.testing.assert_close(result, released[f"{SUB}{reference}/out"])
    result.backward(released[SUB + "upstream"])
    check_gradients(output.adapters["a"], released, reference)


@pytest.mark.parametrize("coefficients", ["one", "perturbed"])
@pytest.mark.parametrize("index", [IDENTITY, ADAPTER])
def test_switch_in_evaluation(
    sub_layer: Any, released: dict[str, Tensor], coefficients: str, index: int
) -> None:
    output = sub_layer(coefficients)
    output.adapters["a"] = Switch(output.adapters["a"], temperature=0.1)
    reference = f"{SUB}switch_{coefficients}/eval_idx{index}/"
    output.adapters["a"].logits.data = released[reference + "logits"].clone()
    assert output.adapters["a"].selected == (index == ADAPTER)
    torch.testing.assert_close(run(output.eval(), released), released[reference + "out"])


@pytest.mark.parametrize("kind", ["train", "train_T1"])
@pytest.mark.parametrize("coefficients", ["one", "perturbed"])
def test_switch_in_training(
    sub_layer: Any,
    released: dict[str, Tensor],
    coefficients: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = f"{SUB}switch_{coefficients}/train/"
    gumbel = released[stored + "gumbel"]
    monkeypatch.setattr(switch_module, "sample_gumbel", lambda batch, like: gumbel)
    output = sub_layer(coefficients).train()
    temperature = 1.0 if kind == "train_T1" else float(released[stored + "temperature"])
    switch = output.adapters["a"] = Switch(output.adapters["a"], temperature)
    switch.logits.data = released[stored + "logits"].clone()
    result = run(output, released)
    reference = f"switch_{coefficients}/{kind}"
    torch.testing.assert_close(result, released[f"{SUB}{reference}/out"])
    result.backward(released[SUB + "upstream"])
    check_gradients(switch, released, reference)


def test_weights_are_those_of_the_released_code(released: dict[str, Tensor]) -> None:
    reference = f"{SUB}switch_one/train/"
    weights = switch_weights(released[reference + "logits"], released[reference + "gumbel"], 0.1)
    torch.testing.assert_close(weights, released[reference + "weights"])


def test_a_tie_goes_to_the_identity() -> None:
    switch = Switch(torch.nn.Identity(), temperature=0.1)
    assert switch.logits.tolist() == [0.5, 0.5]
    assert not switch.selected


def test_gumbel_samples_have_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy import stats

    torch.manual_seed(1)
    samples = sample_gumbel(5000, torch.zeros(2)).flatten().numpy()
    assert stats.kstest(samples, stats.gumbel_r.cdf).pvalue > 0.01


def test_each_example_gets_its_own_choice(sub_layer: Any, released: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    output = sub_layer("perturbed").train()
    output.adapters["a"] = Switch(output.adapters["a"], temperature=1e-4)
    mixed = run(output, released)
    single = [released[f"{SUB}switch_perturbed/eval_idx{i}/out"] for i in (IDENTITY, ADAPTER)]
    near = torch.stack([(mixed - s).abs().amax(dim=(1, 2)) < 1e-3 for s in single])  # [2, batch]
    assert near.any(dim=0).all() and near.any(dim=1).all()
