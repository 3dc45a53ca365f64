"""Tests aa_ray.training.side_by_side against AdapterHub's own forward pass.

Logits and the gradient of every trained parameter must agree, for every kind of method and every
deviation of the forward pass, in training and in evaluation. AdapterHub runs the whole
``BertForSequenceClassification`` on a padded batch, with transformers' own layers.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from adapters import AdapterSetup, BatchSplit, Parallel
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.core.deviations import DEVIATIONS
from aa_ray.core.model import TrialModel
from aa_ray.data.batches import Examples
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.random_encoders import without_dropout
from aa_ray.trial import Trial
from tests.tiny_encoders import LAYERS as TINY_LAYERS

CPU = torch.device("cpu")
LENGTHS = [3, 17, 9, 9, 2, 25, 4, 11, 30, 5]  # more than one group
TOLERANCE = 1e-4

RATIONAL = {"activation": "rational:one"}
# Settings by which the forward passes of the study's methods differ.
METHODS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "baseline-last-n": {"layers": (2,)},
    "rational-only": RATIONAL,
    "aa-focused": {"layers": (0, 2), **RATIONAL},
    "empty selection": {"layers": ()},
    "switch-only": {"switched": True},
    "aa": {"switched": True, **RATIONAL},
    "gelu": {"activation": "gelu"},  # one of AdapterHub's other activations
    "mean pooling": {"pooling": "mean", "layers": (0, 2)},
    "adapter-drop": {"inference_depths": (1, 3)},
}
FORWARD_DEVIATIONS = {
    "switched": ("switch_skip", "switch_identity"),  # D1, D2
    "rational": ("denominator", "gradient_at_zero"),  # D3, D4
}


def cases() -> Iterator[Any]:
    """Yield each kind of method with each combination of its deviations."""
    for name, settings in METHODS.items():
        fields = FORWARD_DEVIATIONS["switched"] if settings.get("switched") else ()
        if "rational" in settings.get("activation", ""):
            fields = (*fields, *FORWARD_DEVIATIONS["rational"])
        for choices in itertools.product(*(DEVIATIONS[field].choices for field in fields)):
            deviation = dict(zip(fields, choices, strict=True))
            yield pytest.param(settings | deviation, id=" ".join([name, *choices]))


def some_examples() -> Examples:
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 80, n).tolist() for n in LENGTHS]
    segments = [[int(k >= n // 2) for k in range(n)] for n in LENGTHS]
    return Examples.from_lists(ids, segments, rng.integers(0, 2, len(ids)))


def padded(examples: Examples) -> dict[str, Tensor]:
    """Return the batch in transformers' form, with tensors [examples, longest]."""
    fields: dict[str, list[list[int]]] = {
        "input_ids": examples.id_lists(),
        "token_type_ids": examples.segment_lists(),
        "attention_mask": [[1] * len(ids) for ids in examples.id_lists()],
    }
    return {
        name: nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        for name, rows in fields.items()
    }


@pytest.fixture(scope="module")
def frozen(tiny: Backbone) -> BertForSequenceClassification:
    """The engine's model."""
    return without_dropout(freeze(model.load(tiny.path)))


@pytest.fixture(scope="module")
def stock(tiny: Backbone) -> BertForSequenceClassification:
    """AdapterHub's model, with all layers as transformers made them."""
    return without_dropout(model.load(tiny.path))


def attached(bert: BertForSequenceClassification, trial: Trial) -> TrialModel:
    """Attach the trial, with weights far from their initial values.

    b3 and b4 stay at 0, where deviation D4 acts.
    """
    [trial_model] = model.attach(bert, [trial], outputs=2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in trial_model.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.3)
        for rational in trial_model.rationals.values():
            rational.denominator[2:] = 0
    return trial_model


def of_adapterhub(
    bert: BertForSequenceClassification,
    trial_model: TrialModel,
    examples: Examples,
    noise: dict[int, Tensor] | None,
    first_layer: int,
) -> Tensor:
    """Return AdapterHub's logits [examples, outputs]; ``skip_layers`` implements AdapterDrop."""
    for layer, of_layer in (noise or {}).items():
        trial_model.switch(layer).noise = of_layer
    bert.set_active_adapters(trial_model.name, skip_layers=list(range(first_layer)))
    bert.classifier = trial_model.classifier
    batch = padded(examples)
    if trial_model.trial.pooling == "mean":
        mask = batch["attention_mask"][..., None]
        hidden = bert.base_model(**batch).last_hidden_state  # [examples, longest, hidden]
        logits: Tensor = bert.classifier((hidden * mask).sum(dim=1) / mask.sum(dim=1))
    else:
        logits = bert(**batch).logits
    return logits


def gradients(logits: Tensor, labels: Tensor, trial_model: TrialModel) -> dict[str, Tensor]:
    """Return name -> gradient of the loss, with 0 for parameters that the loss does not use."""
    named = dict(trial_model.named_parameters())
    loss = nn.functional.cross_entropy(logits, labels)
    values = torch.autograd.grad(loss, [*named.values()], allow_unused=True)
    return {
        name: torch.zeros_like(p) if value is None else value
        for (name, p), value in zip(named.items(), values, strict=True)
    }


def relative(ours: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest expected value."""
    scale = expected.abs().max().item()
    difference = (ours - expected).abs().max().item()
    return difference / scale if scale else difference


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("settings", list(cases()))
def test_logits_and_gradients_are_those_of_adapterhub(
    frozen: BertForSequenceClassification,
    stock: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    settings: dict[str, Any],
    training: bool,
) -> None:
    trial, examples = make_trial(**settings), some_examples()
    ours, theirs = attached(frozen, trial), attached(stock, trial)
    noise = ours.draw_gumbel(len(examples), CPU) if training else None
    batch, [labels] = unpadded.pack([examples], [np.arange(len(examples))], CPU)
    for depth in trial.depths(TINY_LAYERS):
        first_layer = TINY_LAYERS - depth
        for module in (frozen, stock, theirs):
            module.train(training)
        [logits] = side_by_side.forward(frozen, batch, [TrialContext(ours, first_layer, noise)])
        expected = of_adapterhub(stock, theirs, examples, noise, first_layer)
        assert relative(logits, expected) < TOLERANCE
        of_ours = gradients(logits, labels, ours)
        of_theirs = gradients(expected, labels, theirs)
        assert list(of_ours) == list(of_theirs)
        for name, value in of_theirs.items():
            assert relative(of_ours[name], value) < TOLERANCE, name
        check_that_something_learns(of_theirs, theirs, first_layer)


def check_that_something_learns(
    of_parameters: dict[str, Tensor], trial_model: TrialModel, first_layer: int
) -> None:
    """Check that the comparison is not one of zeros.

    Adapters in use must have gradients, and in training so must switches.
    """
    training = trial_model.training
    selected = trial_model.layers if training else trial_model.selected
    for layer in trial_model.layers:
        in_use = layer >= first_layer and (selected is None or layer in selected)
        assert of_parameters[f"adapters.{layer}.adapter_up.weight"].any() == in_use
        if trial_model.trial.switched:
            assert of_parameters[f"adapters.{layer}.switch.logits"].any() == training


def together(
    bert: BertForSequenceClassification, trials: list[Trial]
) -> tuple[list[TrialModel], Tensor]:
    """Evaluate the trials on the same examples; the logits are [trials, examples, 2]."""
    trial_models = model.attach(bert, trials, outputs=2)
    bert.eval()
    with torch.no_grad():
        for trial_model in trial_models:
            for p in trial_model.adapters.parameters():
                p.add_(torch.randn(p.shape), alpha=0.3)
    examples = some_examples()
    batch, _ = unpadded.pack([examples], [np.arange(len(examples))], CPU)
    contexts = [TrialContext(trial_model) for trial_model in trial_models]
    with torch.no_grad():
        return trial_models, side_by_side.forward(bert, batch, contexts, shared=True)


def parallel(names: list[str], batch: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    return Parallel(*names), batch


def batch_split(names: list[str], batch: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    setup = BatchSplit(*names, batch_sizes=[len(LENGTHS)] * len(names))
    return setup, {name: value.repeat(len(names), 1) for name, value in batch.items()}


@pytest.mark.parametrize("composition", [parallel, batch_split])
def test_adapterhubs_compositions_agree_where_they_work(
    stock: BertForSequenceClassification, make_trial: Callable[..., Trial], composition: Any
) -> None:
    """Several adapters share a batch; AdapterHub requires the same layers in all of them."""

    def run(*layers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        trials = [make_trial(layers=of_trial, seed=k) for k, of_trial in enumerate(layers)]
        trial_models, logits = together(stock, trials)
        setup, batch = composition([m.name for m in trial_models], padded(some_examples()))
        with AdapterSetup(setup), torch.no_grad():
            pooled = stock.base_model(**batch).pooler_output
            parts = pooled.unflatten(0, (len(trials), -1))  # [trials, examples, hidden]
            heads = [trial_model.classifier for trial_model in trial_models]
            return logits, torch.stack([h(x) for h, x in zip(heads, parts, strict=True)])

    logits, expected = run((0, 2), (0, 2))
    assert relative(logits, expected) < TOLERANCE
    with pytest.raises(TypeError):
        run((0, 2), (1,))
    with pytest.raises(KeyError):
        run((1,), (0, 2))
