"""aa_ray.deviations: each setting does what it says, and only where it applies."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from aa_ray import deviations, model, tasks, training
from aa_ray.backbones import Backbone
from aa_ray.data import Source
from aa_ray.deviations import DEVIATIONS
from aa_ray.errors import UsageError
from aa_ray.study import Agenda, Cell
from aa_ray.switch import ADAPTER, IDENTITY, Switch
from aa_ray.trial import Trial
from aa_ray.worker import Worker
from tests.test_study import finish, make_study
from tests.test_training import examples

AA = {"activation": "rational:one", "switched": True}


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return model.load(tiny.path)


class Up(nn.Module):
    """Stands for AdapterHub's bottleneck: up(...) is 7 everywhere."""

    def forward(self, x: Tensor, residual: Tensor, gating: bool = False) -> tuple[Tensor, ...]:
        up = torch.full_like(x, 7.0)
        return up + residual, x, up


@pytest.mark.parametrize(
    ("settings", "index", "expected"),
    [
        ({}, ADAPTER, "up + h"),
        ({"skip": False}, ADAPTER, "up"),
        ({}, IDENTITY, "x + h"),
        ({"plain_identity": True}, IDENTITY, "h"),
    ],
)
def test_branches_of_the_switch(settings: dict[str, bool], index: int, expected: str) -> None:
    x, h = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    switch = Switch(Up(), 0.1, **settings).eval()
    with torch.no_grad():
        switch.logits[index] += 1
    values = {"up + h": 7 + h, "up": torch.full_like(h, 7.0), "x + h": x + h, "h": h}
    torch.testing.assert_close(switch(x, h)[0], values[expected])


def test_settings_reach_switch_and_rational(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    changes = {"switch_skip": "no", "switch_identity": "plain", "denominator": "B",
               "gradient_at_zero": "abs"}  # fmt: skip
    model.attach(bert, make_trial(**AA, **changes), outputs=2)
    for switch in model.switches(bert).values():
        assert (switch.skip, switch.plain_identity) == (False, True)
    for rational in model.rationals(bert).values():
        assert (rational.version, rational.gradient) == ("B", "abs")
    model.attach(bert, make_trial(**AA), outputs=2)
    assert {(s.skip, s.plain_identity) for s in model.switches(bert).values()} == {(True, False)}
    assert {(r.version, r.gradient) for r in model.rationals(bert).values()} == {("A", "kernel")}


def run(bert: BertForSequenceClassification, trial: Trial) -> training.Outcome:
    parts = [examples(n, trial.task, seed) for seed, n in enumerate((40, 20, 30))]
    return training.run(trial, tasks.get(trial.task), bert, *parts)


@pytest.mark.parametrize(("gradient", "moves"), [("kernel", True), ("abs", False)])
def test_the_denominator_leaves_zero_only_with_the_kernels_gradient(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    gradient: str,
    moves: bool,
) -> None:
    trial = make_trial(activation="rational:one", gradient_at_zero=gradient, epochs=2)
    last = run(bert, trial).history[-1]
    assert all(any(values) == moves for values in last.denominators.values())
    assert all(values != [1, 0, 0, 0, 0, 0] for values in last.numerators.values())


def test_released_adapter_drop_skips_up_to_ten_and_develops_with_what_it_last_skipped(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[tuple[bool, int]] = []
    keep_last = model.keep_last

    def spy(bert: BertForSequenceClassification, depth: int) -> None:
        kept.append((bert.training, depth))
        keep_last(bert, depth)

    monkeypatch.setattr(model, "keep_last", spy)
    trial = make_trial(inference_depths=(1, 2), drop_range="released", epochs=10, batch_size=4)
    outcome = run(bert, trial)
    counts = np.bincount([depth for in_training, depth in kept if in_training], minlength=4)
    assert counts.sum() == 100
    assert counts[0] > 50  # n = 3..10 of 0..10 leave a 3-layer model without adapter
    for (_, before), (in_training, depth) in itertools.pairwise(kept[:-2]):
        assert in_training or depth == before
    assert all(epoch.development[1] == epoch.development[2] for epoch in outcome.history[1:])
    assert [e.adapter_layers for e in outcome.evaluations] == [[2], [1, 2]]


@pytest.mark.parametrize("setting", ["best", "last"])
def test_which_switches_are_restored(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    scores = iter([0.9, 0.1, 0.1, 0.5])  # the first of three epochs is best; then the test
    monkeypatch.setattr(training, "evaluate", lambda *_: {"accuracy": next(scores)})
    trial = make_trial(**AA, epochs=3, restored_switches=setting, switch_learning_rate=0.5)
    outcome = run(bert, trial)
    epoch = outcome.history[1 if setting == "best" else 3]
    assert {i: s.logits.tolist() for i, s in model.switches(bert).items()} == epoch.logits
    assert outcome.history[1].logits != outcome.history[3].logits
    coefficients = {i: r.numerator.tolist() for i, r in model.rationals(bert).items()}
    assert coefficients == outcome.history[1].numerators  # all else is of the best epoch
    chosen = [i for i, (identity, adapter) in epoch.logits.items() if adapter > identity]
    assert outcome.evaluations[0].selected_layers == chosen


def test_an_empty_selection_may_become_full_fine_tuning(
    tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    worker = Worker(tiny, Source("embedded"), (None, None))
    [before] = worker.run(make_trial(layers=()), "aa-focused-spec")
    [full] = worker.run(make_trial(layers=(), empty_selection="full"), "aa-focused-spec")
    [after] = worker.run(make_trial(layers=()), "aa-focused-spec")
    assert before["trainable_parameters"] == 2 * 32 + 2
    everything = BertForSequenceClassification.from_pretrained(tiny.path).num_parameters()
    assert full["trainable_parameters"] == everything
    assert full["adapter_layers"] == [] and full["trial_id"] != before["trial_id"]
    assert after["test_metric"] == before["test_metric"]  # the shared backbone is untouched
    assert after["curves"] == before["curves"] != full["curves"]


def test_a_setting_applies_only_where_it_can_change_something() -> None:
    variants = tuple((d.name, ((d.name, list(d.choices)[1]),)) for d in DEVIATIONS.values())
    study = make_study(seeds=(42,), tasks=("qqp",), variants=(("", ()), *variants))
    agenda = Agenda(study, [])
    finish(agenda, selected=(1,))

    def ids(method: str) -> set[str]:
        cells = [Cell(method, "qqp", "100", 42, name) for name, _ in study.variants]
        return {agenda.trial(cell).id for cell in cells}  # type: ignore[union-attr]

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
