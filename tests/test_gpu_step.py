"""The fused engine's training step on a GPU never waits and is repeatable: `pytest -m gpu`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.data import tasks
from aa_ray.store.storage import Folder
from aa_ray.training import epoch, loop
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import FusedEngine
from aa_ray.training.outcome import Outcome
from aa_ray.trial import Trial
from tests.training.test_checkpoints import Killed, Mortal
from tests.training.test_loop import run_array
from tests.training.test_stacked_training import ALIKE, MIXED, trainers_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU"),
]

ARRAYS = pytest.mark.parametrize("array", [ALIKE, MIXED], ids=["alike", "mixed"])


@pytest.fixture
def bert(tiny: Backbone) -> PreTrainedModel:
    return freeze(model.load(tiny.path), "cuda")


@contextmanager
def no_waiting() -> Iterator[None]:
    """Make torch raise an error where the host would wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ARRAYS
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_does_not_wait(
    tiny: Backbone, make_trial: Callable[..., Trial], array: list[dict[str, Any]], precision: Any
) -> None:
    """Preparing the batches does not wait either.

    The first epoch runs beforehand, since it creates the objects that are created once.
    """
    bert = freeze(model.load(tiny.path), "cuda", precision)
    trials = [make_trial(**changes) for changes in array]
    trainers = trainers_of(model.attach(bert, trials, outputs=2))
    engine = FusedEngine(bert)
    loop.train_epoch(engine, trainers, 1)
    training = engine.training(trainers)
    order = epoch.order(trainers, 2)
    torch.cuda.synchronize()
    with no_waiting():
        for batch in training.batches(order):
            losses = epoch.losses(training.forward(batch), batch.labels, tasks.get("sst2"))
            training.step(batch, losses.sum())


@ARRAYS
def test_the_same_array_gives_the_same_numbers(
    bert: PreTrainedModel, make_trial: Callable[..., Trial], array: list[dict[str, Any]]
) -> None:
    """The numbers agree bit for bit, with dropout on."""
    trials = [make_trial(epochs=2, **changes) for changes in array]
    for one, other in zip(run_array(bert, trials), run_array(bert, trials), strict=True):
        assert isinstance(one, Outcome) and isinstance(other, Outcome)
        assert one.history == other.history


@ARRAYS
def test_a_resumed_array_ends_as_if_undisturbed(
    bert: PreTrainedModel,
    make_trial: Callable[..., Trial],
    tmp_path: Path,
    array: list[dict[str, Any]],
) -> None:
    trials = [make_trial(epochs=3, **changes) for changes in array]
    undisturbed = run_array(bert, trials)
    folder = Folder(str(tmp_path))
    with pytest.raises(Killed):
        run_array(bert, trials, keeper=Mortal(folder, trials))
    resumed = run_array(bert, trials, resumed=Checkpoint(folder, trials).load())
    for one, other in zip(resumed, undisturbed, strict=True):
        assert isinstance(one, Outcome) and isinstance(other, Outcome)
        assert one.history == other.history
