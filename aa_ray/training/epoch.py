"""Trains trials for one epoch, from its beginning or from the step that they have reached."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from aa_ray.data import batches
from aa_ray.data.tasks import Task
from aa_ray.training import watchdog
from aa_ray.training.engine import Engine
from aa_ray.training.trainer import TrialTrainer

# Number of steps in a block. All random numbers of a block are drawn before its first step, so a
# training run can only be saved between blocks.
STEPS = 32

# Number of steps between two checks for NaN losses. Reading losses means waiting for the device.
STEPS_TO_LOOK = 8 * STEPS


def train_epoch(
    engine: Engine,
    trainers: Sequence[TrialTrainer],
    epoch: int,
    due: Callable[[], bool] = lambda: False,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Take all remaining steps of the epoch with each trainer, and close the epoch.

    Args:
        trainers: trainers that have taken the same number of steps of the epoch.
        due: whether to call ``save`` now; asked between blocks of steps.
        save: is called when the trainers' states can be copied.
    """
    engine.encoder.train()  # backbone dropout is active in training
    training = engine.training(trainers)
    steps = order(trainers, epoch)
    unread: list[Tensor] = []
    for start in range(trainers[0].steps_taken, len(steps), STEPS):
        for batch in training.batches(steps[start : start + STEPS]):
            watchdog.beat()
            of_trainers = losses(training.forward(batch), batch.labels, trainers[0].task)
            # Each loss only depends on its own trial's parameters, so the gradient of the sum is
            # right for all.
            training.step(batch, of_trainers.sum())
            unread.append(of_trainers.detach())
        stop = min(start + STEPS, len(steps))
        for trainer in trainers:
            trainer.steps_taken = stop
        if stop == len(steps):
            break
        if due():
            _read(trainers, unread)
            save()
        if stop % STEPS_TO_LOOK == 0:
            _read(trainers, unread)
            if all(not math.isfinite(sum(trainer.losses)) for trainer in trainers):
                break  # no trial has a finite loss
    _read(trainers, unread)
    for trainer in trainers:
        trainer.close_epoch(epoch)


def order(trainers: Sequence[TrialTrainer], epoch: int) -> list[tuple[np.ndarray, ...]]:
    """The indices of each trainer's examples, for each step of the epoch."""
    size = trainers[0].trial.batch_size
    orders = [
        batches.shuffled(len(trainer.parts.train), size, trainer.trial.seed, epoch)
        for trainer in trainers
    ]
    return list(zip(*orders, strict=True))


def losses(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Each trainer's mean loss over its examples, [trainers]; logits [trainers, B, outputs].

    Cross-entropy over classes, or mean squared error for regression.
    """
    if task.regression:
        return (logits[..., 0].float() - labels).square().mean(dim=1)
    flat = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), reduction="none"
    )
    return flat.view(labels.shape).mean(dim=1)


def _read(trainers: Sequence[TrialTrainer], unread: list[Tensor]) -> None:
    """Append the unread losses, one [trainers] per step, to the trainers; waits for the device."""
    if unread:
        by_trainer = torch.stack(unread, dim=1).tolist()  # [trainers][steps]
        for trainer, of_trainer in zip(trainers, by_trainer, strict=True):
            trainer.losses += of_trainer
        unread.clear()
