"""aa_ray.training.loop: losses against a plain recomputation, selection, and repeatability."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.core.engines import ADAPTERHUB, FUSED
from aa_ray.data import batches, tasks
from aa_ray.data.batches import Examples
from aa_ray.errors import TrainingError
from aa_ray.training import loop, side_by_side, unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import make
from aa_ray.training.evaluation import Job, Scores
from aa_ray.training.outcome import Outcome
from aa_ray.training.random_encoders import without_dropout
from aa_ray.training.trainer import Draw, Parts, TrialTrainer
from aa_ray.trial import Trial


def examples(size: int, task: str = "sst2", seed: int = 0) -> Examples:
    """Return random token ids; label 1 has larger ones, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    ids = [[2, *rng.integers(5 + 40 * y, 45 + 40 * y, rng.integers(2, 9)), 3] for y in labels]
    kind = np.float32 if tasks.get(task).regression else np.int64
    return Examples.from_lists(ids, None, labels.astype(kind))


@pytest.fixture
def bert(tiny: Backbone) -> PreTrainedModel:
    return freeze(model.load(tiny.path))


Run = Callable[[Trial], Outcome]


def run_array(
    bert: PreTrainedModel, trials: Sequence[Trial], engine: str = FUSED, **settings: Any
) -> list[Outcome | TrainingError]:
    """Train the trials on the same random examples."""
    task = trials[0].task
    train, development, test = (examples(n, task, k) for k, n in enumerate((40, 20, 30)))
    parts = [Parts(train, development)] * len(trials)
    return loop.run(make(engine, bert), trials, tasks.get(task), parts, test, **settings)


def run_one(bert: PreTrainedModel, trial: Trial, **settings: Any) -> Outcome:
    [outcome] = run_array(bert, [trial], **settings)
    if isinstance(outcome, TrainingError):
        raise outcome
    return outcome


@pytest.fixture
def run(bert: PreTrainedModel) -> Run:
    return functools.partial(run_one, bert)


@pytest.mark.parametrize("task", ["sst2", "stsb"])
def test_losses_equal_a_plain_recomputation(
    bert: PreTrainedModel,
    run: Run,
    make_trial: Callable[..., Trial],
    task: str,
) -> None:
    """Recomputes three rates, clipping and linear decay with plain gradient arithmetic."""
    trial = make_trial(
        task=task, epochs=3, activation="rational:one", switched=True, batch_size=16,
        learning_rate=5e-3,
    )  # fmt: skip
    losses = [float(epoch.train_loss or 0) for epoch in run(trial).history[1:]]

    [trial_model] = model.attach(bert, [trial], tasks.get(task).outputs)
    torch.manual_seed(trial.seed)
    bert.train()
    train = examples(40, task)
    parameters = dict(trial_model.named_parameters())
    first = {n: torch.zeros_like(p) for n, p in parameters.items()}
    second = {n: torch.zeros_like(p) for n, p in parameters.items()}
    step, expected = 0, []
    for epoch in range(1, 4):
        of_epoch = []
        for indices in batches.shuffled(40, 16, trial.seed, epoch):
            batch, [labels] = unpadded.pack([train], [indices], bert.device)
            noise = trial_model.draw_gumbel(len(indices), bert.device)
            [logits] = side_by_side.forward(bert, batch, [TrialContext(trial_model, noise=noise)])
            if task == "stsb":
                loss = ((logits[:, 0] - labels) ** 2).mean()
            else:
                loss = -logits.log_softmax(-1)[torch.arange(len(labels)), labels].mean()
            grads = dict(
                zip(parameters, torch.autograd.grad(loss, [*parameters.values()]), strict=True)
            )
            norm = torch.sqrt(sum((g**2).sum() for g in grads.values()))  # type: ignore[arg-type]
            scale = min(1.0, 1.0 / (float(norm) + 1e-6))
            decay = 1 - step / (3 * 3)
            step += 1
            for name, p in parameters.items():
                rate = 5e-3
                if name.endswith("logits"):
                    rate = 0.05
                elif name.endswith(("numerator", "denominator")):
                    rate = 0.01
                g = grads[name] * scale
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g**2
                mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                with torch.no_grad():
                    p.sub_(rate * decay * mean / (square.sqrt() + 1e-8))
            of_epoch.append(loss.item())
        expected.append(np.mean(of_epoch))
        # A run evaluates between its epochs; evaluation draws no random numbers.
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


ENGINES = (FUSED, ADAPTERHUB)

ARCHITECTURES: list[dict[str, Any]] = [
    {},
    {"activation": "rational:one", "switched": True},
    {"activation": "rational:one", "layers": (0, 2)},
    {"layers": ()},
    {"inference_depths": (0, 2)},
]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_trial_that_fails_leaves_the_others_alone(
    tiny: Backbone, make_trial: Callable[..., Trial], engine: str
) -> None:
    """The failing trial may stand anywhere in the array; its first step still succeeds."""
    bert = without_dropout(freeze(model.load(tiny.path)))
    well = [make_trial(batch_size=4), make_trial(batch_size=4, seed=7, switched=True)]
    bad = make_trial(batch_size=4, learning_rate=1e30)
    [first, second] = run_array(bert, well, engine)
    for at in range(3):
        outcomes = run_array(bert, [*well[:at], bad, *well[at:]], engine)
        assert "became nan in epoch 1" in str(outcomes.pop(at))
        for outcome, expected in zip(outcomes, (first, second), strict=True):
            assert isinstance(outcome, Outcome) and isinstance(expected, Outcome)
            assert outcome.history[1].train_loss == pytest.approx(expected.history[1].train_loss)


@pytest.mark.parametrize("changes", ARCHITECTURES)
def test_the_same_trial_gives_the_same_outcome(
    run: Run, make_trial: Callable[..., Trial], changes: dict[str, Any]
) -> None:
    trial = make_trial(epochs=2, **changes)
    first, other, second = run(trial), run(make_trial(seed=7)), run(trial)
    assert first.history == second.history
    assert [e.test for e in first.evaluations] == [e.test for e in second.evaluations]
    assert first.history != other.history


def test_the_best_epoch_is_the_first_highest_and_is_restored(
    run: Run, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch,
    bert: PreTrainedModel,
) -> None:  # fmt: skip
    scores = iter([0.2, 0.7, 0.7, 0.1, 0.9])  # four epochs, then the test
    weights = []

    def evaluate(bert: Any, jobs: Sequence[Job]) -> list[Scores]:
        weights.append(jobs[0].trainer.trial_model.snapshot())
        return [Scores({"accuracy": next(scores)}, answers=2)]

    monkeypatch.setattr(loop, "evaluate", evaluate)
    [result] = run(make_trial(epochs=4, learning_rate=0.01)).evaluations
    assert result.best_epoch == 2
    assert result.development == {"accuracy": 0.7} and result.test == {"accuracy": 0.9}
    for name, value in weights[-1].items():
        assert torch.equal(value, weights[1][name])
    assert not torch.equal(weights[-1]["classifier.weight"], weights[3]["classifier.weight"])


def test_history_follows_switches_and_rationals(run: Run, make_trial: Callable[..., Trial]) -> None:
    outcome = run(make_trial(epochs=3, activation="rational:one", switched=True))
    assert [e.epoch for e in outcome.history] == [0, 1, 2, 3]
    start = outcome.history[0]
    assert start.logits == {i: [0.5, 0.5] for i in range(3)}
    assert start.numerators[0] == [1, 0, 0, 0, 0, 0] and start.denominators[0] == [0, 0, 0, 0]
    assert all(v != 0 for v in outcome.history[1].denominators[0])  # they learn from f(x) = 1
    [result] = outcome.evaluations
    best = outcome.history[result.best_epoch].logits
    assert result.selected_layers == [
        i for i, (identity, adapter) in best.items() if adapter > identity
    ]
    last = outcome.history[-1].logits
    assert result.final_selected_layers == [i for i, (o, a) in last.items() if a > o]


def test_adapter_drop_is_one_training_and_one_evaluation_per_depth(
    run: Run, make_trial: Callable[..., Trial]
) -> None:
    outcome = run(make_trial(inference_depths=(0, 1, 3), epochs=2))
    assert [e.adapter_layers for e in outcome.evaluations] == [[], [2], [0, 1, 2]]
    assert all(set(epoch.development) == {0, 1, 3} for epoch in outcome.history[1:])
    sizes = [e.adapter_parameters for e in outcome.evaluations]
    assert sizes == [0, sizes[2] // 3, sizes[2]]


def test_adapter_drop_skips_uniformly(
    run: Run, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = spy_on_steps(monkeypatch)
    run(make_trial(inference_depths=(1,), epochs=10, batch_size=4))
    counts = np.bincount(steps, minlength=3)
    assert counts.sum() == 100 and len(counts) == 3  # n is at most L - 1
    assert counts.min() > 20


def spy_on_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that collects the first layer in use of each later training step."""
    steps: list[int] = []
    draw = TrialTrainer.draw

    def spy(trainer: TrialTrainer, batch: int) -> Draw:
        drawn = draw(trainer, batch)
        steps.append(drawn.first_layer)
        return drawn

    monkeypatch.setattr(TrialTrainer, "draw", spy)
    return steps


def test_an_empty_selection_trains_the_classifier_only(
    run: Run, make_trial: Callable[..., Trial]
) -> None:
    outcome = run(make_trial(layers=()))
    assert outcome.trainable_parameters == 2 * 32 + 2
    assert (
        outcome.evaluations[0].adapter_layers == []
        and outcome.evaluations[0].adapter_parameters == 0
    )


def test_the_backbone_stays_frozen(
    bert: PreTrainedModel, run: Run, make_trial: Callable[..., Trial]
) -> None:
    before = model.weights_hash(bert)
    run(make_trial(activation="rational:one", switched=True, learning_rate=0.1))
    assert model.weights_hash(bert) == before


def test_a_loss_that_is_not_finite_ends_the_trial(
    run: Run, make_trial: Callable[..., Trial]
) -> None:
    with pytest.raises(
        TrainingError, match=r"loss became (nan|inf) in epoch \d+.*lower learning rates"
    ):
        run(make_trial(task="stsb", learning_rate=1e30, epochs=3))


MIXED: list[dict[str, Any]] = [
    *ARCHITECTURES,
    {"switched": True, "seed": 7},
    {"activation": "rational:relu", "seed": 7, "learning_rate": 1e-2},
    {"inference_depths": (1, 3), "drop_range": "released"},
    {"activation": "rational:one", "switched": True, "restored_switches": "last"},
]


@pytest.mark.parametrize("setting", [{}, {"switch_skip": "no", "switch_identity": "plain"},
                                     {"denominator": "B", "gradient_at_zero": "abs"}])  # fmt: skip
def test_side_by_side_equals_one_by_one(
    bert: PreTrainedModel, make_trial: Callable[..., Trial], setting: dict[str, str]
) -> None:
    """Compares full runs with dropout off; each trial has its own noise, order and rates."""
    without_dropout(bert)
    common = {"epochs": 8, "learning_rate": 3e-3} | setting
    trials = [make_trial(**common | changes) for changes in MIXED]
    assert len({trial.fuse_key for trial in trials}) == 1
    for trial, together in zip(trials, run_array(bert, trials), strict=True):
        assert isinstance(together, Outcome)
        alone = run_one(bert, trial)
        check_same_history(together, alone, 1e-5)
        for one, other in zip(together.evaluations, alone.evaluations, strict=True):
            assert one.best_epoch == other.best_epoch and one.test == pytest.approx(other.test)
            assert one.selected_layers == other.selected_layers
            assert one.adapter_parameters == other.adapter_parameters


def check_same_history(one: Outcome, other: Outcome, tolerance: float) -> None:
    """Check that losses, switches and rationals agree after every epoch."""
    for a, b in zip(one.history, other.history, strict=True):
        for name in ("train_loss", "logits", "numerators", "denominators"):
            first, second = (list(flat(getattr(epoch, name))) for epoch in (a, b))
            np.testing.assert_allclose(first, second, atol=tolerance, err_msg=name)


def flat(value: Any) -> Iterator[float]:
    """Yield the numbers in nested lists and dictionaries."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from flat(item)
    elif value is not None:
        yield value


def test_a_failing_trial_takes_no_other_down(
    bert: PreTrainedModel, make_trial: Callable[..., Trial]
) -> None:
    without_dropout(bert)
    good = [make_trial(epochs=3, **changes) for changes in ARCHITECTURES[:2]]
    bad = make_trial(epochs=3, learning_rate=1e30)
    first, failed, second = run_array(bert, [good[0], bad, good[1]])
    assert isinstance(failed, TrainingError) and "in epoch 1, step 2" in str(failed)
    for trial, outcome in zip(good, (first, second), strict=True):
        assert isinstance(outcome, Outcome)
        losses, alone = (
            [epoch.train_loss for epoch in o.history[1:]] for o in (outcome, run_one(bert, trial))
        )
        np.testing.assert_allclose(losses, alone, atol=1e-5)  # type: ignore[arg-type]


def test_with_dropout_trials_are_not_copies_of_each_other(
    bert: PreTrainedModel, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(epochs=2)
    one, other = run_array(bert, [trial, trial])
    assert isinstance(one, Outcome) and isinstance(other, Outcome)
    assert one.history[0] == other.history[0] and one.history[1] != other.history[1]
