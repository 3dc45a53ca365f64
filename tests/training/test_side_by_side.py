"""aa_ray.training.side_by_side: sharing, order, attention, precision.

tests/training/test_against_adapterhub.py compares it with AdapterHub's own forward pass.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.data.batches import Examples
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.attention import attention
from aa_ray.training.context import TrialContext, sort_key
from aa_ray.training.cpu_layers import freeze
from aa_ray.trial import Trial
from tests.training.test_against_adapterhub import some_examples

CPU = torch.device("cpu")


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path)).eval()


def one_batch(examples: Examples) -> unpadded.Packed:
    batch, _ = unpadded.pack([examples], [np.arange(len(examples))], CPU)
    return batch


def test_shared_examples_equal_each_trial_alone(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    layers = [(0, 1), (2,), (), (1,)]
    trials = [make_trial(layers=of_trial, seed=k) for k, of_trial in enumerate(layers)]
    contexts = [TrialContext(m) for m in model.attach(bert, trials, outputs=2)]
    batch = one_batch(some_examples())
    with torch.inference_mode():
        together = side_by_side.forward(bert, batch, contexts, shared=True)
        for context, logits in zip(contexts, together, strict=True):
            [alone] = side_by_side.forward(bert, batch, [context])
            torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)


MIXED: list[dict[str, Any]] = [
    {"activation": "rational:one"},
    {"activation": "gelu", "switched": True},
    {"activation": "rational:relu", "switched": True, "switch_skip": "no"},
    {"activation": "rational:one", "denominator": "B", "layers": (0, 2)},
    {"switched": True, "switch_identity": "plain", "temperature": 1.0},
    {"activation": "tanh", "layers": (1,)},
    {"switched": True, "temperature": 1.0},
    {},
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_contexts_may_come_in_any_order_and_have_any_settings(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial], training: bool
) -> None:
    """Grouping contexts of equal settings affects only speed."""
    trials = [make_trial(seed=k, **settings) for k, settings in enumerate(MIXED)]
    trial_models = model.attach(bert, trials, outputs=2)
    examples = some_examples()
    size = len(examples)
    noise = [trial_model.draw_gumbel(size, CPU) for trial_model in trial_models]
    contexts = [
        TrialContext(trial_model, k % 2, of_trial if training else None)
        for k, (trial_model, of_trial) in enumerate(zip(trial_models, noise, strict=True))
    ]
    batch, _ = unpadded.pack([examples] * len(trials), [np.arange(size)] * len(trials), CPU)
    with torch.inference_mode():
        alone = torch.cat([side_by_side.forward(bert, one_batch(examples), [c]) for c in contexts])
        for order in (range(len(trials)), [6, 3, 0, 5, 2, 7, 4, 1], [4, 6, 1, 2, 0, 3, 5, 7]):
            logits = side_by_side.forward(bert, batch, [contexts[k] for k in order])
            torch.testing.assert_close(logits, alone[list(order)], rtol=1e-4, atol=1e-5)
    assert len({str(logits) for logits in alone}) == len(trials)


def test_sorted_trials_with_rationals_or_switches_are_neighbours(
    make_trial: Callable[..., Trial],
) -> None:
    trials = sorted((make_trial(**settings) for settings in MIXED), key=sort_key)
    for trait in ("rational", "switched"):
        values = [getattr(trial, trait) for trial in trials]
        where = [k for k, value in enumerate(values) if value]
        assert where == list(range(where[0], where[-1] + 1))


def test_attention_has_dropout_in_training(bert: BertForSequenceClassification) -> None:
    """The mean over many draws is close to the output without dropout."""
    batch = one_batch(some_examples())
    block = bert.base_model.encoder.layer[0].attention.self
    hidden = torch.randn(1, batch.num_tokens, 32)
    with torch.inference_mode():
        expected = attention(block.eval(), hidden, batch)
        torch.manual_seed(0)
        block.train()
        outputs = torch.stack([attention(block, hidden, batch) for _ in range(500)])
    real = batch.example_of_token[0] >= 0
    assert not torch.equal(outputs[0], outputs[1])
    error = (outputs.mean(dim=0) - expected)[:, real].abs().max()
    assert error < 5 * outputs[:, :, real].std(dim=0).max() / 500**0.5


def test_bf16_comes_close_to_fp32(
    tiny: Backbone, make_trial: Callable[..., Trial], bert: BertForSequenceClassification
) -> None:
    batch = one_batch(some_examples())
    trial = make_trial(activation="rational:relu", switched=True)
    results: list[list[Tensor]] = []
    for of_precision in (bert, freeze(model.load(tiny.path), "cpu", "bf16").eval()):
        [trial_model] = model.attach(of_precision, [trial], outputs=2)
        with torch.no_grad():
            for layer in trial_model.layers:
                trial_model.switch(layer).logits[1] += 1
        assert all(p.dtype == torch.float32 for p in trial_model.parameters())
        logits = side_by_side.forward(of_precision, batch, [TrialContext(trial_model)])
        adapters = [p for name, p in trial_model.named_parameters() if "adapter_" in name]
        gradients = torch.autograd.grad(logits.sum(), adapters)
        results.append([logits.detach(), *gradients])
    assert not torch.equal(results[0][0], results[1][0])
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() < 0.15 * one.norm() + 1e-5
