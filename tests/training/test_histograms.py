"""aa_ray.training.histograms: the inputs of the rationals."""

from collections.abc import Callable

import pytest
import torch
from transformers import BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.training import histograms
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import FusedEngine
from aa_ray.trial import Trial
from tests.training.test_loop import examples


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path))


def test_counts_every_token_and_unit_once_without_padding(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    [trial_model] = model.attach(
        bert, [make_trial(layers=(0, 2), activation="rational:one")], outputs=2
    )
    part = examples(50)
    by_layer = histograms.of_inputs(FusedEngine(bert), TrialContext(trial_model), part)
    assert set(by_layer) == {0, 2}
    tokens = part.lengths.sum()
    units = 32 // 16
    for histogram in by_layer.values():
        assert sum(histogram.counts) == tokens * units and len(histogram.counts) == 64
        assert histogram.low < histogram.high


def test_at_most_256_examples(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    [trial_model] = model.attach(
        bert, [make_trial(layers=(1,), activation="rational:one")], outputs=2
    )
    part = examples(300)
    [histogram] = histograms.of_inputs(FusedEngine(bert), TrialContext(trial_model), part).values()
    assert sum(histogram.counts) == 2 * part.lengths[:256].sum()


def test_layers_whose_switch_is_off_have_none(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    [trial_model] = model.attach(
        bert, [make_trial(activation="rational:one", switched=True)], outputs=2
    )
    with torch.no_grad():
        trial_model.switch(1).logits[1] = 2.0
    context = TrialContext(trial_model)
    assert set(histograms.of_inputs(FusedEngine(bert), context, examples(10))) == {1}


def test_nothing_without_rationals(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    [trial_model] = model.attach(bert, [make_trial()], outputs=2)
    assert histograms.of_inputs(FusedEngine(bert), TrialContext(trial_model), examples(10)) == {}
