"""aa_ray.core.deviations: each setting has its documented effect, and only where it applies."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from aa_ray.core import deviations, model
from aa_ray.core.adapter import ADAPTER, IDENTITY
from aa_ray.core.backbones import Backbone
from aa_ray.core.deviations import DEVIATIONS
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.study.grid import Cell, Variant
from aa_ray.study.queue import TrialQueue
from aa_ray.training import loop
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.evaluation import Job, Scores
from aa_ray.training.stacked_adapters import AdaptedRows, output_layer
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial
from tests.study.test_grid import finish, make_study
from tests.training.test_loop import run_one, spy_on_steps

AA = {"activation": "rational:one", "switched": True}


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path))


@pytest.mark.parametrize(
    ("settings", "index", "expected"),
    [
        ({}, ADAPTER, "up + h"),
        ({"switch_skip": "no"}, ADAPTER, "up"),
        ({}, IDENTITY, "x + h"),
        ({"switch_identity": "plain"}, IDENTITY, "h"),
    ],
)
def test_branches_of_the_switch(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    settings: dict[str, str],
    index: int,
    expected: str,
) -> None:
    [trial_model] = model.attach(bert, [make_trial(switched=True, layers=(0,), **settings)], 2)
    with torch.no_grad():
        trial_model.switch(0).logits[index] += 1
    output = bert.base_model.encoder.layer[0].output.eval()
    intermediate, residual = torch.randn(1, 6, 64), torch.randn(1, 6, 32)
    h = output.dense(intermediate)
    x = output.LayerNorm(h + residual)
    up = trial_model.adapter(0)(x, h)[2]  # AdapterHub's own
    branch = {"up + h": up + h, "up": up, "x + h": x + h, "h": h}[expected]
    rows = AdaptedRows(0, [0], [TrialContext(trial_model)])
    result = output_layer(output, intermediate, residual, rows)
    torch.testing.assert_close(result, output.LayerNorm(branch + residual))


def test_settings_reach_the_rational(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    changes = {"denominator": "B", "gradient_at_zero": "abs"}
    for settings, expected in ((changes, ("B", "abs")), ({}, ("A", "kernel"))):
        [trial_model] = model.attach(bert, [make_trial(**AA, **settings)], outputs=2)
        assert {(r.version, r.gradient) for r in trial_model.rationals.values()} == {expected}


@pytest.mark.parametrize(("gradient", "moves"), [("kernel", True), ("abs", False)])
def test_the_denominator_leaves_zero_only_with_the_kernels_gradient(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    gradient: str,
    moves: bool,
) -> None:
    trial = make_trial(activation="rational:one", gradient_at_zero=gradient, epochs=2)
    last = run_one(bert, trial).history[-1]
    assert all(any(values) == moves for values in last.denominators.values())
    assert all(values != [1, 0, 0, 0, 0, 0] for values in last.numerators.values())


def test_released_adapter_drop_skips_up_to_ten_and_develops_with_what_it_last_skipped(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = spy_on_steps(monkeypatch)
    trial = make_trial(inference_depths=(1, 2), drop_range="released", epochs=10, batch_size=4)
    outcome = run_one(bert, trial)
    counts = np.bincount(steps, minlength=4)
    assert counts.sum() == 100
    assert counts[3] > 50  # n = 3..10 of 0..10 leave a 3-layer model without adapters
    assert all(epoch.development[1] == epoch.development[2] for epoch in outcome.history[1:])
    assert [e.adapter_layers for e in outcome.evaluations] == [[2], [1, 2]]


@pytest.mark.parametrize("setting", ["best", "last"])
def test_which_switches_are_restored(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    scores = iter([0.9, 0.1, 0.1, 0.5])  # three epochs, the first is best; then the test
    trial_models = []

    def evaluate(bert: Any, jobs: Sequence[Job]) -> list[Scores]:
        trial_models.append(jobs[0].trainer.trial_model)
        return [Scores({"accuracy": next(scores)}, answers=2)]

    monkeypatch.setattr(loop, "evaluate", evaluate)
    trial = make_trial(**AA, epochs=3, restored_switches=setting, switch_learning_rate=0.5)
    outcome = run_one(bert, trial)
    epoch = outcome.history[1 if setting == "best" else 3]
    trial_model = trial_models[0]
    assert {i: trial_model.switch(i).logits.tolist() for i in trial_model.layers} == epoch.logits
    assert outcome.history[1].logits != outcome.history[3].logits
    coefficients = {i: r.numerator.tolist() for i, r in trial_model.rationals.items()}
    assert coefficients == outcome.history[1].numerators  # the rest comes from the best epoch
    chosen = [i for i, (identity, adapter) in epoch.logits.items() if adapter > identity]
    assert outcome.evaluations[0].selected_layers == chosen


def test_an_empty_selection_may_become_full_fine_tuning(
    tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    worker = Worker(tiny, Source("embedded"), (None, None))
    [[before]] = worker.run([make_trial(layers=())], ["aa-focused-spec"])
    [[full]] = worker.run([make_trial(layers=(), empty_selection="full")], ["aa-focused-spec"])
    [[after]] = worker.run([make_trial(layers=())], ["aa-focused-spec"])
    assert before["trainable_parameters"] == 2 * 32 + 2
    everything = BertForSequenceClassification.from_pretrained(tiny.path).num_parameters()
    assert full["trainable_parameters"] == everything
    assert full["adapter_layers"] == [] and full["trial_id"] != before["trial_id"]
    assert after["test_metric"] == before["test_metric"]  # the shared backbone is untouched
    assert after["curves"] == before["curves"] != full["curves"]


def test_a_setting_applies_only_where_it_can_change_something() -> None:
    variants = [Variant(d.name, ((d.name, list(d.choices)[1]),)) for d in DEVIATIONS.values()]
    study = make_study(seeds=(42,), tasks=("qqp",), variants=(Variant(""), *variants))
    queue = TrialQueue(study, [])
    finish(queue, selected=(1,))

    def ids(method: str) -> set[str]:
        cells = [Cell(method, "qqp", "100", 42, name) for name, _ in study.variants]
        return {queue.trial(cell).id for cell in cells}  # type: ignore[union-attr]

    assert len(ids("baseline")) == 1
    assert len(ids("aa")) == 1 + 5  # switch_skip, switch_identity, D6, and the rational's two
    assert len(ids("aa-focused-sim")) == 1 + 2
    assert len(ids("adapter-drop")) == 1 + 1


def test_defaults_are_those_of_trial() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Trial)}
    for name, deviation in DEVIATIONS.items():
        assert deviation.default == defaults[name]
        assert {deviation.released, deviation.paper or deviation.released} <= set(deviation.choices)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("tempo", "1", "unknown setting 'tempo' (allowed: switch_skip"),
     ("denominator", "C", "unknown value of denominator 'C' (allowed: A, B)")],
)  # fmt: skip
def test_unknown_settings_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        deviations.check(name, value)
    assert message in str(caught.value)
