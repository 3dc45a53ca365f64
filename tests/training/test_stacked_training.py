"""Tests each part of training on stacked parameters against torch's, for one trial each."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.core.model import TrialModel
from aa_ray.data import tasks
from aa_ray.training import checkpoints, epoch, frozen, loop, side_by_side
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.context import TrialContext, sort_key
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import FusedEngine
from aa_ray.training.held_rows import HeldSwitches
from aa_ray.training.random_encoders import without_dropout
from aa_ray.training.rows import gather, scatter, select
from aa_ray.training.stacked_parameters import StackedParameters
from aa_ray.training.stacked_training import StackedBatch, StackedTraining
from aa_ray.training.trainer import Parts, TrialTrainer
from aa_ray.trial import Trial
from tests.tiny_encoders import LAYERS as TINY_LAYERS
from tests.training.conftest import Make
from tests.training.test_checkpoints import Killed, Mortal
from tests.training.test_loop import examples, run_array

ALIKE: list[dict[str, Any]] = [
    {"learning_rate": 1e-2, "max_gradient_norm": 0.5},
    {"inference_depths": None},
]
MIXED: list[dict[str, Any]] = [
    {"activation": "rational:one", "layers": (0, 2)},
    {"activation": "rational:one", "switched": True, "learning_rate": 1e-2},
    {"switched": True, "layers": (1, 2), "max_gradient_norm": 0.1},
    {"inference_depths": (1, 3)},
    {"layers": ()},
    {"activation": "gelu", "layers": (2,)},
]
ARRAYS = pytest.mark.parametrize("array", [ALIKE, MIXED], ids=["alike", "mixed"])


def trainers_of(trial_models: Sequence[TrialModel]) -> list[TrialTrainer]:
    parts = Parts(examples(40), examples(10))
    task = tasks.get("sst2")
    return [TrialTrainer(of_trial, task, parts, TINY_LAYERS) for of_trial in trial_models]


@ARRAYS
def test_the_modules_parameters_are_views(attach: Make, array: list[dict[str, Any]]) -> None:
    trial_models = attach(array)
    before = [of_trial.snapshot() for of_trial in trial_models]
    parameters = StackedParameters(trial_models, torch.float32)
    for of_trial, expected in zip(trial_models, before, strict=True):
        for name, p in of_trial.named_parameters():
            assert torch.equal(p, expected[name]), name
    parameters.values += 1
    for row, (of_trial, expected) in enumerate(zip(trial_models, before, strict=True)):
        for name, p in of_trial.named_parameters():
            assert torch.equal(p, expected[name] + 1), name
            assert torch.equal(parameters.row(parameters.values, row, name), p)
    trial_models[0].restore(before[0])
    size = sum(p.numel() for p in trial_models[0].parameters())
    assert (parameters.values[0] != 1).sum() <= size  # the restored values; the rest has no owner
    parameters.release(0)
    parameters.values += 1
    for name, p in trial_models[0].named_parameters():
        assert torch.equal(p, before[0][name]) and p.is_contiguous(), name


@ARRAYS
def test_leaves_are_the_stacked_parameters(attach: Make, array: list[dict[str, Any]]) -> None:
    parameters = StackedParameters(attach(array), torch.float32)
    parameters.values.copy_(torch.randn(parameters.values.shape))
    parameters.gradients.copy_(2 * parameters.values)
    for name in parameters.blocks:
        leaf = parameters.leaf(name)
        assert torch.equal(leaf.gradient, 2 * leaf.values), name
        for row, named in enumerate(parameters.named):
            if name in named:
                stacked = leaf.values[row - leaf.first]
                expected = named[name].T if named[name].dim() == 2 else named[name]
                assert torch.equal(stacked.squeeze(), expected.squeeze()), name
    total = sum(block.shape.numel() for block in parameters.blocks.values())
    columns = [set(range(*block.columns)) for block in parameters.blocks.values()]
    assert len(set.union(*columns)) == total  # no two blocks overlap


@ARRAYS
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_those_of_the_modules(
    tiny: Backbone,
    make_trial: Callable[..., Trial],
    array: list[dict[str, Any]],
    precision: Literal["fp32", "bf16"],
) -> None:
    """Compares with automatic differentiation through the trials' own parameters."""
    bert = without_dropout(freeze(model.load(tiny.path), "cpu", precision, fast_linears=False))
    trials = [make_trial(**changes, seed=k) for k, changes in enumerate(array)]
    trainers = trainers_of(model.attach(bert, trials, outputs=2))
    training = FusedEngine(bert).training(trainers)
    assert isinstance(training, StackedTraining)
    bert.train()
    for batch in itertools.islice(training.batches(epoch.order(trainers, 1)), 2):
        logits = side_by_side.forward(bert, batch.packed, contexts_of(trainers, batch))
        loss = epoch.losses(logits, batch.labels, tasks.get("sst2")).sum()
        expected = {
            row: dict(zip(named, torch.autograd.grad(loss, [*named.values()], retain_graph=True,
                                                     allow_unused=True), strict=True))
            for row, named in enumerate(training.parameters.named)
        }  # fmt: skip
        ours = training.forward(batch)
        torch.testing.assert_close(ours, logits)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.adam, "step", lambda _: None)
            training.step(batch, epoch.losses(ours, batch.labels, tasks.get("sst2")).sum())
        tolerance = 1e-5 if precision == "fp32" else 2e-2
        for row, of_row in expected.items():
            for name, value in of_row.items():
                gradient = training.parameters.row(training.parameters.gradients, row, name)
                value = torch.zeros_like(gradient) if value is None else value
                scale = float(value.abs().max())
                torch.testing.assert_close(
                    gradient, value, rtol=tolerance, atol=tolerance * scale + 1e-8, msg=name
                )


def contexts_of(trainers: Sequence[TrialTrainer], batch: StackedBatch) -> list[TrialContext]:
    """Return a context per trial, with the batch's noise by layer.

    Only the mixed array's second and third trials have noise.
    """
    contexts = []
    for row, trainer in enumerate(trainers):
        noise = {}
        if batch.noise is not None and trainer.trial.switched:
            of_trial = batch.noise[row - 1]  # [B, layers, 2]
            noise = {layer: of_trial[:, layer] for layer in trainer.trial_model.layers}
        contexts.append(TrialContext(trainer.trial_model, batch.first_layers[row], noise))
    return contexts


class NoWords(TorchDispatchMode):
    """Fails on reading a value from a tensor, where a GPU's host would have to wait."""

    READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.__name__.split(".")[0].strip("_")
        assert name not in [read.strip("_") for read in self.READS], func
        return func(*args, **(kwargs or {}))


@contextmanager
def no_words(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: Any) -> Any:
        raise AssertionError("a tensor's values are read")

    with monkeypatch.context() as patch, NoWords():
        for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
            patch.setattr(Tensor, name, fail)
        yield


@ARRAYS
def test_a_step_reads_nothing_back(
    bert: PreTrainedModel, attach: Make, array: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trainers = trainers_of(attach(array))
    training = FusedEngine(bert).training(trainers)
    bert.train()
    for batch in list(training.batches(epoch.order(trainers, 1))):
        with no_words(monkeypatch):
            losses = epoch.losses(training.forward(batch), batch.labels, tasks.get("sst2"))
            training.step(batch, losses.sum())
    with pytest.raises(AssertionError), no_words(monkeypatch):  # reading a value is detected
        torch.ones(1).item()


def test_a_training_goes_on_until_a_trial_leaves(bert: PreTrainedModel, attach: Make) -> None:
    trainers = trainers_of(attach(MIXED))
    engine = FusedEngine(bert)
    first = engine.training(trainers)
    loop.train_epoch(engine, trainers, 1)
    assert engine.training(trainers) is first
    before = [trainer.moments() for trainer in trainers]
    others = engine.training(trainers[1:])
    assert isinstance(others, StackedTraining) and others is not first
    for trainer, expected in zip(trainers, before, strict=True):
        moments = trainer.moments()
        assert all(
            torch.equal(moments[index][name], value)
            for index, of_parameter in expected.items()
            for name, value in of_parameter.items()
        )


def test_noise_is_that_of_each_trial(attach: Make) -> None:
    trial_models = attach(MIXED)
    switches = HeldSwitches.of(StackedParameters(trial_models, torch.float32))
    assert switches is not None and switches.leaf.first == 1
    drawn = [[of_trial.sample_gumbel(5) for of_trial in trial_models] for _ in range(3)]
    arranged = switches.arranged(drawn, 5)  # [steps, trials, B, layers, 2]
    assert arranged.shape == (3, 2, 5, TINY_LAYERS, 2)
    for step, of_step in enumerate(drawn):
        for row, (of_trial, noise) in enumerate(zip(trial_models, of_step, strict=True)):
            if noise is not None:
                for place, layer in enumerate(of_trial.layers):
                    assert torch.equal(arranged[step, row - 1, :, layer], noise[place])


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_the_feed_forward_layers_are_bert_s(tiny: Backbone, activation: str) -> None:
    loaded = model.load(tiny.path)
    block = loaded.base_model.encoder.layer[0].requires_grad_(False).eval()
    if activation == "relu":
        block.intermediate.intermediate_act_fn = nn.ReLU()
    x = torch.randn(2, 5, 32, requires_grad=True)
    upstream = torch.randn(2, 5, 32)
    results = []
    for out in (
        frozen.feed_forward(block.intermediate, block.output, x),
        block.output.dense(block.intermediate(x)),
    ):
        results.append((out, *torch.autograd.grad(out, x, upstream)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [1, 2], [0, 3], [2]])
def test_rows_are_those_of_indexing(indices: list[int]) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    values = torch.randn(len(indices), 3)
    assert torch.equal(gather(x, indices), x[indices])
    assert torch.equal(select(x, indices[::-1]), x[indices[::-1]])
    expected = x.detach().clone()
    expected[indices] = values
    assert torch.equal(scatter(values, indices, x), expected)
    upstream = torch.randn(len(indices), 3)
    [gradient] = torch.autograd.grad(gather(x, indices), x, upstream)
    [of_indexing] = torch.autograd.grad(x[indices], x, upstream)
    assert torch.equal(gradient, of_indexing)


def test_trials_with_an_adapter_in_a_layer_are_neighbours(
    make_trial: Callable[..., Trial],
) -> None:
    rational = {"activation": "rational:one"}
    choices: list[dict[str, Any]] = [
        rational | {"layers": (1, 2)}, rational, rational | {"layers": (2,)},
        rational | {"layers": ()}, rational | {"switched": True}, {"switched": True},
        {"layers": (2,)}, {}, {"layers": ()}, {"layers": (1, 2)},
    ]  # fmt: skip
    trials = sorted((make_trial(**changes) for changes in choices), key=sort_key)
    for layer in range(TINY_LAYERS):
        where = [k for k, trial in enumerate(trials) if layer in trial.layers]
        assert where == list(range(where[0], where[-1] + 1))


def test_an_older_checkpoint_has_its_states_in_another_order(
    bert: PreTrainedModel, tmp_path: Any, make_trial: Callable[..., Trial]
) -> None:
    """Up to version 4, checkpoints stored the states in the order of computation."""
    from aa_ray.store.storage import Folder

    trials = [make_trial(**changes) for changes in ({}, {"switched": True}, MIXED[0])]
    folder = Folder(str(tmp_path))
    with pytest.raises(Killed):
        run_array(bert, trials, keeper=Mortal(folder, trials))
    state = Checkpoint(folder, trials).load()
    assert state is not None
    older = dataclasses.replace(state, trainers=[state.trainers[k] for k in (2, 1, 0)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "VERSION", "4")
        content = checkpoints.pack(older, trials, {})
        assert json.loads(content[8 : 8 + checkpoints._header_size(content)])
    again, _ = checkpoints.unpack(content, trials)
    for one, other in zip(again.trainers, state.trainers, strict=True):
        assert one.history == other.history and one.weights.keys() == other.weights.keys()
