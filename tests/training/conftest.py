"""Fixtures shared by the tests of training: trials on the tiny BERT, without dropout."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from transformers import PreTrainedModel

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.core.model import TrialModel
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.random_encoders import without_dropout
from aa_ray.trial import Trial

Make = Callable[[Sequence[dict[str, Any]]], list[TrialModel]]


@pytest.fixture
def bert(tiny: Backbone) -> PreTrainedModel:
    return without_dropout(freeze(model.load(tiny.path), fast_linears=False))


@pytest.fixture
def attach(bert: PreTrainedModel, make_trial: Callable[..., Trial]) -> Make:
    """Return a function that attaches an array of trials, each given by its changed settings."""

    def make(array: Sequence[dict[str, Any]]) -> list[TrialModel]:
        return model.attach(bert, [make_trial(**changes) for changes in array], outputs=2)

    return make
