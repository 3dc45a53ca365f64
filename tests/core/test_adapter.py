"""aa_ray.core.adapter and the output sub-layer against the released code's."""

from collections.abc import Callable
from typing import Any

import adapters
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.adapter import ADAPTER, IDENTITY, Switch, sample_gumbel, switch_weights
from aa_ray.core.model import TrialModel
from aa_ray.training import side_by_side
from aa_ray.training.side_by_side import TrialContext
from aa_ray.trial import Trial

SUB = "sub/"


class SubLayer:
    """A BERT output sub-layer with AdapterHub's adapter and the reference's weights."""

    def __init__(self, released: dict[str, Tensor], coefficients: str, trial: Trial) -> None:
        config = BertConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            vocab_size=9, hidden_dropout_prob=0.0,
        )  # fmt: skip
        bert = BertForSequenceClassification(config)
        adapters.init(bert)
        [self.trial_model] = model.attach(bert, [trial], outputs=2)
        self.output = bert.base_model.encoder.layer[0].output
        pairs = {"dense": self.output.dense, "LayerNorm": self.output.LayerNorm}
        if trial.layers:
            adapter = self.trial_model.adapter(0)
            pairs |= {"down": adapter.adapter_down[0], "up": adapter.adapter_up}
        for name, module in pairs.items():
            module.weight.data = released[f"{SUB}{name}.weight"].clone()
            module.bias.data = released[f"{SUB}{name}.bias"].clone()
        if coefficients == "perturbed":
            rational = self.trial_model.rationals[0]
            rational.numerator.data = released[SUB + "perturbed_num"].clone()
            rational.denominator.data = released[SUB + "perturbed_den"].clone()
        self.inputs = released[SUB + "intermediate"], released[SUB + "input_tensor"]

    def __call__(self, noise: Tensor | None = None) -> Tensor:
        context = TrialContext(self.trial_model, noise=None if noise is None else {0: noise})
        examples, length, _ = self.inputs[0].shape
        membership = torch.eye(examples).repeat_interleave(length, dim=0)[None]
        inner, residual = (part.flatten(0, 1)[None] for part in self.inputs)  # [1, tokens, ...]
        out = side_by_side.output_layer(self.output, 0, inner, residual, [context], membership)
        return out.view_as(self.inputs[1])


@pytest.fixture
def sub_layer(released: dict[str, Tensor], make_trial: Callable[..., Trial]) -> Any:
    def build(coefficients: str, **changes: Any) -> SubLayer:
        activation = "relu" if coefficients == "relu" else "rational:one"
        settings = {"layers": (0,), "activation": activation} | changes
        return SubLayer(released, coefficients, make_trial(**settings))

    return build


def test_layer_without_adapter(sub_layer: Any, released: dict[str, Tensor]) -> None:
    torch.testing.assert_close(sub_layer("relu", layers=())(), released[SUB + "leftout/out"])


def check_gradients(trial_model: TrialModel, released: dict[str, Tensor], reference: str) -> None:
    """Compare the gradient of every trained parameter with the reference's."""
    prefix = f"{SUB}{reference}/grad/"
    adapter = trial_model.adapter(0)
    modules = {"down": adapter.adapter_down[0], "up": adapter.adapter_up}
    found = {f"{n}.{p}": getattr(m, p) for n, m in modules.items() for p in ("weight", "bias")}
    if trial_model.trial.switched:
        found["switch_logits"] = trial_model.switch(0).logits
    for rational in trial_model.rationals.values():
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
    layer = sub_layer(coefficients)
    result = layer()
    torch.testing.assert_close(result, released[f"{SUB}{reference}/out"])
    result.backward(released[SUB + "upstream"])
    check_gradients(layer.trial_model, released, reference)


@pytest.mark.parametrize("coefficients", ["one", "perturbed"])
@pytest.mark.parametrize("index", [IDENTITY, ADAPTER])
def test_switch_in_evaluation(
    sub_layer: Any, released: dict[str, Tensor], coefficients: str, index: int
) -> None:
    layer = sub_layer(coefficients, switched=True)
    reference = f"{SUB}switch_{coefficients}/eval_idx{index}/"
    layer.trial_model.switch(0).logits.data = released[reference + "logits"].clone()
    assert layer.trial_model.selected == ([0] if index == ADAPTER else [])
    torch.testing.assert_close(layer(), released[reference + "out"])


@pytest.mark.parametrize("kind", ["train", "train_T1"])
@pytest.mark.parametrize("coefficients", ["one", "perturbed"])
def test_switch_in_training(
    sub_layer: Any, released: dict[str, Tensor], coefficients: str, kind: str
) -> None:
    stored = f"{SUB}switch_{coefficients}/train/"
    temperature = 1.0 if kind == "train_T1" else float(released[stored + "temperature"])
    layer = sub_layer(coefficients, switched=True, temperature=temperature)
    layer.trial_model.switch(0).logits.data = released[stored + "logits"].clone()
    result = layer(released[stored + "gumbel"])
    reference = f"switch_{coefficients}/{kind}"
    torch.testing.assert_close(result, released[f"{SUB}{reference}/out"])
    result.backward(released[SUB + "upstream"])
    check_gradients(layer.trial_model, released, reference)


def test_weights_are_those_of_the_released_code(released: dict[str, Tensor]) -> None:
    reference = f"{SUB}switch_one/train/"
    weights = switch_weights(released[reference + "logits"], released[reference + "gumbel"], 0.1)
    torch.testing.assert_close(weights, released[reference + "weights"])


def test_a_tie_goes_to_the_identity() -> None:
    switch = Switch()
    assert switch.logits.tolist() == [0.5, 0.5]
    assert not switch.selected


def test_gumbel_samples_have_the_distribution() -> None:
    from scipy import stats

    samples = sample_gumbel((5000, 2), torch.Generator().manual_seed(1)).flatten().numpy()
    assert stats.kstest(samples, stats.gumbel_r.cdf).pvalue > 0.01


def test_each_example_gets_its_own_choice(sub_layer: Any, released: dict[str, Tensor]) -> None:
    layer = sub_layer("perturbed", switched=True, temperature=1e-4)
    mixed = layer(sample_gumbel((4, 2), torch.Generator().manual_seed(0)))
    single = [released[f"{SUB}switch_perturbed/eval_idx{i}/out"] for i in (IDENTITY, ADAPTER)]
    near = torch.stack([(mixed - s).abs().amax(dim=(1, 2)) < 1e-3 for s in single])  # [2, batch]
    assert near.any(dim=0).all() and near.any(dim=1).all()
