"""aa_ray.training.side_by_side against AdapterHub's own forward pass on padded batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.core.model import TrialModel
from aa_ray.data.batches import Examples
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.side_by_side import TrialContext
from aa_ray.trial import Trial

CPU = torch.device("cpu")
LENGTHS = [3, 17, 9, 9, 2, 25, 4, 11, 30, 5]  # more than a group


def some_examples() -> Examples:
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 80, n).tolist() for n in LENGTHS]
    segments = [[int(k >= n // 2) for k in range(n)] for n in LENGTHS]
    return Examples(ids, segments, rng.integers(0, 2, len(ids)))


def adapterhub(
    bert: BertForSequenceClassification, trial_model: TrialModel, examples: Examples
) -> Tensor:
    """Logits by AdapterHub and transformers, padded."""
    fields: dict[str, Any] = {
        "input_ids": examples.input_ids,
        "token_type_ids": examples.token_type_ids,
        "attention_mask": [[1] * n for n in LENGTHS],
    }
    padded = {
        name: torch.tensor([[*row, *[0] * (max(LENGTHS) - len(row))] for row in rows])
        for name, rows in fields.items()
    }
    bert.set_active_adapters(trial_model.name)
    pooled = bert.base_model(**padded).pooler_output
    bert.set_active_adapters(None)
    logits: Tensor = trial_model.classifier(pooled)
    return logits


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path)).eval()


@pytest.mark.parametrize("settings", [
    {}, {"activation": "rational:relu"}, {"layers": (1,)}, {"layers": (0, 2)},
])  # fmt: skip
def test_logits_and_gradients_are_adapterhubs(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    settings: dict[str, Any],
) -> None:
    """In evaluation mode, where there is no dropout; spare tokens and padding change nothing."""
    [trial_model] = model.attach(bert, [make_trial(**settings)], outputs=2)
    examples = some_examples()
    batch, [labels] = unpadded.pack([examples], [np.arange(len(examples))], CPU)
    names = [name for name, _ in trial_model.named_parameters()]

    def loss_and_gradients(logits: Tensor) -> list[Tensor]:
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return [logits, loss, *torch.autograd.grad(loss, [*trial_model.parameters()])]

    [logits] = side_by_side.forward(bert, batch, [TrialContext(trial_model)])
    expected = loss_and_gradients(adapterhub(bert, trial_model, examples))
    for name, one, other in zip(
        ["logits", "loss", *names], loss_and_gradients(logits), expected, strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), name


def test_shared_examples_equal_each_stream_alone(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    trials = [
        make_trial(layers=layers, seed=k) for k, layers in enumerate([(0, 1), (2,), (), (1,)])
    ]
    trial_models = model.attach(bert, trials, outputs=2)
    examples = some_examples()
    batch, _ = unpadded.pack([examples], [np.arange(len(examples))], CPU)
    with torch.inference_mode():
        together = side_by_side.forward(
            bert, batch, [TrialContext(m) for m in trial_models], shared=True
        )
        for trial_model, logits in zip(trial_models, together, strict=True):
            torch.testing.assert_close(
                logits, adapterhub(bert, trial_model, examples), rtol=1e-4, atol=1e-5
            )


def test_attention_has_dropout_in_training(bert: BertForSequenceClassification) -> None:
    """The mean over many draws comes close to what there is without dropout."""
    examples = some_examples()
    batch, _ = unpadded.pack([examples], [np.arange(len(examples))], CPU)
    block = bert.base_model.encoder.layer[0].attention.self
    hidden = torch.randn(1, len(batch.places), 32)
    with torch.inference_mode():
        expected = side_by_side.attention(block.eval(), hidden, batch)
        torch.manual_seed(0)
        block.train()
        found = torch.stack([side_by_side.attention(block, hidden, batch) for _ in range(500)])
    real = batch.membership[0].any(dim=1)
    assert not torch.equal(found[0], found[1])
    error = (found.mean(dim=0) - expected)[:, real].abs().max()
    assert error < 5 * found[:, :, real].std(dim=0).max() / 500**0.5


def test_bf16_comes_close_to_fp32(
    tiny: Backbone, make_trial: Callable[..., Trial], bert: BertForSequenceClassification
) -> None:
    examples = some_examples()
    batch, _ = unpadded.pack([examples], [np.arange(len(examples))], CPU)
    trial = make_trial(activation="rational:relu", switched=True)
    found: list[list[Tensor]] = []
    for of_precision in (bert, freeze(model.load(tiny.path), "cpu", "bf16").eval()):
        [trial_model] = model.attach(of_precision, [trial], outputs=2)
        with torch.no_grad():
            for layer in trial_model.layers:
                trial_model.switch(layer).logits[1] += 1
        assert all(p.dtype == torch.float32 for p in trial_model.parameters())
        logits = side_by_side.forward(of_precision, batch, [TrialContext(trial_model)])
        gradients = torch.autograd.grad(logits.sum(), [*trial_model.adapters.parameters()])
        found.append([logits.detach(), *gradients])
    assert not torch.equal(found[0][0], found[1][0])
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() < 0.15 * one.norm() + 1e-5
