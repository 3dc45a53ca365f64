"""Train and evaluate trials side by side (paper section 4; details as in the released code).

Read ``train`` first. The trials of a group share the backbone, the task and the regime; a single
trial is a group of one. Each has its own adapters, classifier, optimiser, data order, best epoch
and end. This module knows nothing about Ray, files, or the source of the examples.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from aa_ray.core import encoders, model
from aa_ray.data.batches import Examples
from aa_ray.data.tasks import Task
from aa_ray.errors import CheckpointError, TrainingError
from aa_ray.training import histograms
from aa_ray.training.context import sort_key
from aa_ray.training.engine import Engine
from aa_ray.training.epoch import train_epoch
from aa_ray.training.evaluation import Job, Scores, evaluate
from aa_ray.training.outcome import Evaluation, Outcome
from aa_ray.training.trainer import Parts, TrainerState, TrialTrainer
from aa_ray.trial import Trial


@dataclass
class State:
    """Everything that a group of trials needs to continue exactly after its last step.

    Attributes:
        trainers: state of each trial, in the group's order.
        random: states of torch's generators, by device type.
        seconds: seconds spent on training so far.
    """

    trainers: list[TrainerState]
    random: dict[str, Tensor]
    seconds: float

    @property
    def epoch(self) -> int:
        """The last completed epoch."""
        return max(len(trainer.history) for trainer in self.trainers) - 1


class Keeper(Protocol):
    """Saves states, so that an interrupted training run can continue."""

    def due(self) -> bool:
        """Whether to save a state now, after an epoch."""

    def due_within_epoch(self) -> bool:
        """Whether to save a state now, between two steps."""

    def save(self, state: State) -> None:
        """Save the state, replacing the last one."""


class Listener(Protocol):
    """Is called while trials train, to report progress or to copy their weights."""

    def after_epoch(self, trainer: TrialTrainer) -> None:
        """Called after an epoch, the last one in the history, and before training (epoch 0)."""

    def after_test(self, trainer: TrialTrainer, depth: int) -> None:
        """Called after the test of a depth, with the weights of its best epoch in place."""


def run(
    engine: Engine,
    trials: Sequence[Trial],
    task: Task,
    parts: Sequence[Parts],
    test: Examples,
    *,
    resumed: State | None = None,
    keeper: Keeper | None = None,
    listener: Listener | None = None,
) -> list[Outcome | TrainingError]:
    """Attach the trials' adapters to the frozen model, train them, and test their best epochs.

    Args:
        engine: computes logits on the frozen model.
        trials: trials with equal ``fuse_key``.
        parts: each trial's training and development examples, the same number for each.
        resumed: state of an interrupted run of these trials, from which it continues.
        keeper: saves states after epochs, and within long ones, whenever it is due.
        listener: is called after each epoch and test.

    Returns:
        For each trial its outcome, or an error if its loss or outputs became NaN or infinite.

    Raises:
        CheckpointError: ``resumed`` does not fit these trials.
    """
    started = time.monotonic() - (resumed.seconds if resumed else 0.0)
    order = sorted(range(len(trials)), key=lambda k: sort_key(trials[k]))
    trainers = _trainers(engine, [trials[k] for k in order], task, [parts[k] for k in order])
    by_trial = [trainers[order.index(k)] for k in range(len(trials))]
    if resumed is not None:
        _resume(engine, by_trial, resumed)

    def save() -> None:
        if keeper is not None:
            keeper.save(_state(engine, by_trial, time.monotonic() - started))

    due = keeper.due_within_epoch if keeper is not None else lambda: False
    _tell(listener, trainers)
    for trained in train(engine, trainers, due, save):
        _tell(listener, trained)
        if keeper is not None and keeper.due():
            save()
    seconds = time.monotonic() - started
    for trainer in trainers:
        if trainer.optimizer is not None:
            trainer.optimizer.release()
    evaluations = _test(engine, trainers, test, listener)
    return [_outcome(trainer, evaluations[trainer], seconds) for trainer in by_trial]


def train(
    engine: Engine,
    trainers: Sequence[TrialTrainer],
    due: Callable[[], bool] = lambda: False,
    save: Callable[[], None] = lambda: None,
) -> Iterator[Sequence[TrialTrainer]]:
    """The paper's section 4: in each epoch the training set, then the development set.

    Continues after the last step that was taken, without trainers that have ended early.

    Args:
        due, save: see ``train_epoch``.

    Yields:
        After each epoch, the trainers that have trained in it.
    """
    completed = max(len(trainer.history) for trainer in trainers) - 1
    for epoch in range(completed + 1, trainers[0].trial.epochs + 1):
        training = [trainer for trainer in trainers if trainer.error is None]
        if not training:
            return
        train_epoch(engine, training, epoch, due, save)
        _develop(engine, training)
        yield training


def _trainers(
    engine: Engine,
    trials: Sequence[Trial],
    task: Task,
    parts: Sequence[Parts],
) -> list[TrialTrainer]:
    """A trainer for each trial, at epoch 0; seeds torch's global generator for dropout."""
    trial_models = model.attach(engine.encoder, trials, task.outputs)
    torch.manual_seed(trials[0].seed)  # regardless of the numbers drawn for the initial weights
    num_layers = encoders.num_layers(engine.encoder)
    return [
        TrialTrainer(trial_model, task, examples, num_layers)
        for trial_model, examples in zip(trial_models, parts, strict=True)
    ]


def _tell(listener: Listener | None, trainers: Sequence[TrialTrainer]) -> None:
    if listener is not None:
        for trainer in trainers:
            listener.after_epoch(trainer)


def _state(engine: Engine, trainers: Sequence[TrialTrainer], seconds: float) -> State:
    random = {"cpu": torch.get_rng_state()}
    if engine.encoder.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(engine.encoder.device)
    return State([trainer.state() for trainer in trainers], random, seconds)


def _resume(engine: Engine, trainers: Sequence[TrialTrainer], state: State) -> None:
    """Restore the state.

    Raises:
        CheckpointError: it does not fit.
    """
    try:
        for trainer, trainer_state in zip(trainers, state.trainers, strict=True):
            trainer.resume(trainer_state)
        torch.set_rng_state(state.random["cpu"])
        if engine.encoder.device.type == "cuda":
            torch.cuda.set_rng_state(state.random["cuda"], engine.encoder.device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # written by another version of aa_ray or torch
        raise CheckpointError(f"it does not fit ({type(error).__name__}: {error})") from error


def _develop(engine: Engine, trainers: Sequence[TrialTrainer]) -> None:
    """Score all trainers without an error on their development sets, for each inference depth."""
    pairs = [(t, depth) for t in trainers if t.error is None for depth in t.depths]
    jobs = [Job(t, evaluated_depth(t, depth), t.parts.development) for t, depth in pairs]
    for (trainer, depth), scores in zip(pairs, evaluate(engine, jobs), strict=True):
        if trainer.error is not None:
            continue
        if isinstance(scores, TrainingError):
            trainer.error = str(scores)
        else:
            trainer.developed(depth, scores.metrics)


def evaluated_depth(trainer: TrialTrainer, depth: int) -> int:
    """The depth at which the development set is evaluated to find the best epoch of ``depth``.

    It is ``depth`` itself, except for AdapterDrop as in the released code (D5), which evaluates
    with the layers that the last training step happened to keep.
    """
    trial = trainer.trial
    if trial.inference_depths is not None and trial.drop_range == "released":
        return trainer.num_layers - trainer.first_layer
    return depth


def _test(
    engine: Engine,
    trainers: Sequence[TrialTrainer],
    test: Examples,
    listener: Listener | None,
) -> dict[TrialTrainer, list[Evaluation]]:
    """Test each trainer at each of its depths, with the weights of the depth's best epoch.

    The n-th depths of all trainers are tested side by side; only AdapterDrop has a second one.
    """
    final = {trainer: trainer.trial_model.selected for trainer in trainers}
    evaluations: dict[TrialTrainer, list[Evaluation]] = {trainer: [] for trainer in trainers}
    for depths in itertools.zip_longest(*(trainer.depths for trainer in trainers)):
        jobs = [
            Job(trainer, depth, test)
            for trainer, depth in zip(trainers, depths, strict=True)
            if depth is not None and trainer.error is None
        ]
        for job in jobs:
            job.trainer.restore_best(job.depth)
        started = time.monotonic()
        results = evaluate(engine, jobs)
        seconds = time.monotonic() - started
        for job, scores in zip(jobs, results, strict=True):
            if isinstance(scores, TrainingError):
                job.trainer.error = str(scores)
                continue
            evaluation = _evaluation(engine, job, scores, final[job.trainer], seconds)
            evaluations[job.trainer].append(evaluation)
            if listener is not None:
                listener.after_test(job.trainer, job.depth)
    return evaluations


def _evaluation(
    engine: Engine,
    job: Job,
    scores: Scores,
    final_selected: list[int] | None,
    seconds: float,
) -> Evaluation:
    """The record of a test with these scores."""
    trainer, trial_model, context = job.trainer, job.trainer.trial_model, job.context
    best_epoch = trainer.best[job.depth].epoch
    return Evaluation(
        adapter_layers=[layer for layer in trial_model.layers if context.adapts(layer)],
        selected_layers=trial_model.selected,
        final_selected_layers=final_selected,
        best_epoch=best_epoch,
        development=trainer.history[best_epoch].development[job.depth],
        test=scores.metrics,
        answers=scores.answers,
        input_histograms=histograms.of_inputs(engine, context, trainer.parts.development),
        test_seconds=seconds,
        adapter_parameters=trial_model.parameters_in_use(context.first_layer),
    )


def _outcome(
    trainer: TrialTrainer, evaluations: list[Evaluation], train_seconds: float
) -> Outcome | TrainingError:
    if trainer.error is not None:
        return TrainingError(trainer.error)
    parameters = sum(p.numel() for p in trainer.trial_model.parameters())
    return Outcome(trainer.history, evaluations, train_seconds, parameters)
