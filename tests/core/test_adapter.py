"""aa_ray.core.adapter against the released code's values, in AdapterHub's forward pass and ours."""

import copy
from collections.abc import Callable
from typing import Any

import adapters
import pytest
import torch
from adapters import ParBnConfig, SeqBnConfig
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.adapter import (
    ADAPTER,
    IDENTITY,
    RELEASED,
    AdaptableAdapter,
    Switch,
    SwitchSettings,
    hard_weights,
    make_adaptable,
    picks_adapter,
    sample_gumbel,
    soft_weights,
)
from aa_ray.core.model import TrialModel
from aa_ray.errors import UsageError
from aa_ray.training.context import TrialContext
from aa_ray.training.stacked_adapters import AdaptedRows, output_layer
from aa_ray.trial import Trial

SUB = "sub/"


class SubLayer:
    """A BERT output sub-layer with a trial's adapter and the reference's weights."""

    def __init__(
        self, released: dict[str, Tensor], coefficients: str, trial: Trial, engine: str
    ) -> None:
        self.engine = engine
        self.bert = small_bert()
        [self.trial_model] = model.attach(self.bert, [trial], outputs=2)
        self.output = self.bert.base_model.encoder.layer[0].output
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
        run = {"adapterhub": self._adapterhub, "side by side": self._side_by_side}[self.engine]
        return run(noise)

    def _adapterhub(self, noise: Tensor | None) -> Tensor:
        self.bert.set_active_adapters(self.trial_model.name)
        self.bert.train(noise is not None)
        if noise is not None:
            self.trial_model.switch(0).noise = noise
        out: Tensor = self.output(*self.inputs)
        return out

    def _side_by_side(self, noise: Tensor | None) -> Tensor:
        context = TrialContext(self.trial_model, noise=None if noise is None else {0: noise})
        examples, length, _ = self.inputs[0].shape
        membership = torch.eye(examples).repeat_interleave(length, dim=0)[None]
        inner, residual = (part.flatten(0, 1)[None] for part in self.inputs)  # [1, tokens, ...]
        rows = AdaptedRows(0, [0], [context], membership)
        if not self.trial_model.layers:
            rows = AdaptedRows(0, [], [])
        return output_layer(self.output, inner, residual, rows).view_as(self.inputs[1])


def small_bert(layers: int = 1) -> BertForSequenceClassification:
    config = BertConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2,
        vocab_size=9, hidden_dropout_prob=0.0,
    )  # fmt: skip
    bert = BertForSequenceClassification(config)
    adapters.init(bert)
    return bert


@pytest.fixture(params=["adapterhub", "side by side"])
def sub_layer(
    released: dict[str, Tensor], make_trial: Callable[..., Trial], request: pytest.FixtureRequest
) -> Any:
    def build(coefficients: str, **changes: Any) -> SubLayer:
        activation = "relu" if coefficients == "relu" else "rational:one"
        settings = {"layers": (0,), "activation": activation} | changes
        return SubLayer(released, coefficients, make_trial(**settings), request.param)

    return build


def test_layer_without_adapter(sub_layer: Any, released: dict[str, Tensor]) -> None:
    torch.testing.assert_close(sub_layer("relu", layers=())(), released[SUB + "leftout/out"])


def check_gradients(trial_model: TrialModel, released: dict[str, Tensor], reference: str) -> None:
    """Compare the gradient of every trained parameter with the reference's."""
    prefix = f"{SUB}{reference}/grad/"
    adapter = trial_model.adapter(0)
    modules = {"down": adapter.adapter_down[0], "up": adapter.adapter_up}
    trained = {f"{n}.{p}": getattr(m, p) for n, m in modules.items() for p in ("weight", "bias")}
    if trial_model.trial.switched:
        trained["switch_logits"] = trial_model.switch(0).logits
    for rational in trial_model.rationals.values():
        trained["num"] = rational.numerator
        if rational.denominator.detach().any():
            trained["den"] = rational.denominator
        else:  # from f(x) = 1, the kernel moves what the reference's abs keeps at 0 (FACTS D4)
            assert not released[prefix + "den"].any() and rational.denominator.grad.all()  # type: ignore[union-attr]
    stored = {name.removeprefix(prefix) for name in released if name.startswith(prefix)}
    assert stored - {"den"} <= set(trained) <= stored
    for name, parameter in trained.items():
        expected = released[prefix + name]
        scale = expected.abs().max().item()
        # Two sums over all tokens nearly cancel, so their difference shows rounding.
        tolerance = 3e-5 if name == "switch_logits" else 1e-5
        torch.testing.assert_close(
            parameter.grad, expected, rtol=tolerance, atol=tolerance * scale,
            msg=f"{reference} {name}",
        )  # fmt: skip


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
    weights = soft_weights(released[reference + "logits"], released[reference + "gumbel"], 0.1)
    torch.testing.assert_close(weights, released[reference + "weights"])


def test_a_tie_goes_to_the_identity() -> None:
    switch = Switch()
    assert switch.logits.tolist() == [0.5, 0.5]
    assert not switch.selected


def test_the_larger_logit_decides_for_one_switch_and_for_stacked_ones() -> None:
    logits = torch.tensor([[0.5, 0.5], [0.1, 0.2], [3.0, -1.0], [-2.0, -1.0]])
    assert picks_adapter(logits).tolist() == [False, True, False, True]
    assert hard_weights(logits).tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    for pair, picked in zip(logits, picks_adapter(logits), strict=True):
        switch = Switch().eval()
        switch.logits.data = pair
        assert switch.selected == picked
        assert switch(3).tolist() == [hard_weights(pair).tolist()] * 3


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


def test_noise_is_drawn_from_the_generator_or_from_torchs_own() -> None:
    def draws(generator: torch.Generator | None) -> Tensor:
        switch = Switch(RELEASED, generator)
        return torch.stack([switch(5).detach() for _ in range(2)])

    torch.manual_seed(0)
    ours = draws(torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    assert torch.equal(draws(torch.Generator().manual_seed(1)), ours)  # torch's is not used
    torch.manual_seed(1)
    global_ones = draws(None)
    torch.manual_seed(1)
    assert torch.equal(draws(None), global_ones)
    assert not torch.equal(ours[0], ours[1])


def with_adapter(config: Any, seed: int = 0) -> BertForSequenceClassification:
    bert = small_bert(layers=3)
    torch.manual_seed(seed)
    bert.add_adapter("aa", config=config)
    return bert


@pytest.mark.parametrize("switch", [None, RELEASED])
def test_adaptable_ones_keep_adapterhubs_weights_and_draw_nothing(
    switch: SwitchSettings | None,
) -> None:
    config = SeqBnConfig(non_linearity="rational:relu", leave_out=[1])
    bert = with_adapter(config)
    before = {n: p.clone() for n, p in bert.named_parameters()}
    plain = copy.deepcopy(bert.base_model.encoder.layer[2].output.adapters["aa"])
    state = torch.get_rng_state()
    modules = make_adaptable(bert, "aa", switch)
    assert torch.equal(torch.get_rng_state(), state)
    layers = [bert.base_model.encoder.layer[layer].output for layer in (0, 2)]
    assert modules == [layer.adapters["aa"] for layer in layers]
    after = dict(bert.named_parameters())
    added = after.keys() - before.keys()
    assert len(added) == (0 if switch is None else 2) and before.keys() <= after.keys()
    assert all(name.endswith(".adapters.aa.switch.logits") for name in added)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    if switch is None:
        x, h = torch.randn(2, 4, 5, 32)
        for ours, adapterhubs in zip(modules[1](x, h), plain(x, h), strict=True):
            assert torch.equal(ours, adapterhubs)


def test_anyone_can_train_it_with_adapterhub() -> None:
    """With ``train_adapter`` and a plain loop, the switches learn and the backbone does not."""
    bert = with_adapter(SeqBnConfig(reduction_factor=4, non_linearity="rational:one"))
    modules = make_adaptable(bert, "aa", SwitchSettings(temperature=0.5))
    bert.train_adapter("aa")
    trained = {n for n, p in bert.named_parameters() if p.requires_grad and ".adapters." in n}
    assert {n.split(".adapters.aa.")[1] for n in trained} >= {"switch.logits", "adapter_up.weight"}
    optimizer = torch.optim.Adam([p for p in bert.parameters() if p.requires_grad], lr=0.01)
    ids, labels = torch.randint(9, (8, 6)), torch.arange(8) % 2
    bert.train()
    losses = []
    for _ in range(30):
        loss = bert(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    switches = [module.switch for module in modules if module.switch is not None]
    assert len(switches) == 3
    assert all(switch.logits.tolist() != [0.5, 0.5] for switch in switches)
    bert.eval()
    assert torch.equal(bert(ids).logits, bert(ids).logits)  # no noise


def test_its_gates_come_last_as_adapterhubs() -> None:
    config = SeqBnConfig(use_gating=True)
    adapter = AdaptableAdapter("aa", 32, 2, config)
    x, h = torch.randn(2, 4, 5, 32)
    mixture, down, up, gate = adapter(x, h, output_gating=True)
    assert (mixture.shape, down.shape, up.shape) == (x.shape, (4, 5, 2), x.shape)
    assert gate.shape == (4, 1, 1)


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (ParBnConfig(), {}, "sequential bottleneck"),
        (SeqBnConfig(original_ln_before=False), {}, "use SeqBnConfig"),
        (SeqBnConfig(), {"identity": "zero"}, r"'zero' \(allowed: released, plain\)"),
    ],
)
def test_what_the_equations_do_not_hold_for_is_refused(
    config: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        AdaptableAdapter("aa", 32, 2, config, SwitchSettings(**settings))


def test_an_adapter_that_the_model_does_not_have_is_refused() -> None:
    bert = with_adapter(SeqBnConfig())
    with pytest.raises(UsageError, match=r"unknown adapter 'bb' \(allowed: aa\)"):
        make_adaptable(bert, "bb")
