"""Train and evaluate trials side by side (paper section 4; details as in the released code).

The trials of an array share the backbone, the task and the regime; a single trial is an array of
one. Each has its own adapters, classifier, optimiser, data order, best epoch and end. Knows nothing
of Ray, of files, or of where the examples come from.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from aa_ray.core import model
from aa_ray.data import batches
from aa_ray.data.batches import Examples
from aa_ray.data.tasks import Task
from aa_ray.errors import CheckpointError, TrainingError
from aa_ray.training import histograms, side_by_side, unpadded, watchdog
from aa_ray.training.evaluation import Job, evaluate
from aa_ray.training.histograms import Histogram
from aa_ray.training.trainer import Epoch, Parts, TrainerState, TrialTrainer
from aa_ray.trial import Trial


@dataclass
class Evaluation:
    """The test of one inference depth, with the weights of its best epoch.

    Attributes:
        adapter_layers: layers whose adapters were in use; for a switched trial all of its layers.
        selected_layers, final_selected_layers: layers whose switch picks the adapter in the test
            (at the best epoch, unless ``restored_switches`` says otherwise) and at the last epoch;
            None without switches.
        best_epoch: the first with the highest development score, from 1.
        test: scores by metric name.
        input_histograms: layer -> what its rational saw, on development examples.
        test_seconds: of the whole array's test.
        adapter_parameters: parameters of the adapters in use, rationals and switches included.
    """

    adapter_layers: list[int]
    selected_layers: list[int] | None
    final_selected_layers: list[int] | None
    best_epoch: int
    development: dict[str, float]
    test: dict[str, float]
    input_histograms: dict[int, Histogram]
    test_seconds: float
    adapter_parameters: int


@dataclass
class Outcome:
    """Everything a trial yields: the history with one entry per epoch, one evaluation per depth.

    ``train_seconds`` are the whole array's.
    """

    history: list[Epoch]
    evaluations: list[Evaluation]
    train_seconds: float
    trainable_parameters: int


@dataclass
class State:
    """All that an array needs to go on after its last epoch, as if nothing had happened.

    Attributes:
        trainers: by position in the array.
        random: states of torch's generators, by device type.
        seconds: spent on training so far.
    """

    trainers: list[TrainerState]
    random: dict[str, Tensor]
    seconds: float

    @property
    def epoch(self) -> int:
        """The last that was completed."""
        return max(len(trainer.history) for trainer in self.trainers) - 1


class Keeper(Protocol):
    """Who keeps states, so that an interrupted training can go on."""

    def due(self) -> bool:
        """Whether a state should be saved now."""

    def save(self, state: State) -> None:
        """Keep the state in place of the last one."""


class Listener(Protocol):
    """Who wants to hear how trials are doing while they train, or to have their weights."""

    def after_epoch(self, trainer: TrialTrainer) -> None:
        """Its last epoch, 0 before training, stands at the end of its history."""

    def after_test(self, trainer: TrialTrainer, depth: int) -> None:
        """The weights of the depth's best epoch are in place, and have been tested."""


def run(
    bert: BertForSequenceClassification,
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

    AdapterDrop has one best epoch per inference depth, since each depth is a model of its own.

    Args:
        trials: of equal ``fuse_key``.
        parts: each trial's training and development examples, as many for each.
        resumed: where an interrupted training of these trials had come to; it goes on from there.
        keeper: is given the state after each epoch that it wants.
        listener: is told of every epoch and test.

    Returns:
        By trial what came out, or why it ended: its loss or its outputs became NaN or infinite.

    Raises:
        CheckpointError: ``resumed`` does not fit these trials.
    """
    started = time.monotonic() - (resumed.seconds if resumed else 0.0)
    order = sorted(range(len(trials)), key=lambda k: side_by_side.kind(trials[k]))
    trial_models = model.attach(bert, [trials[k] for k in order], task.outputs)
    torch.manual_seed(trials[order[0]].seed)  # dropout, whatever the initial weights have drawn
    num_layers = bert.config.num_hidden_layers
    trainers = [
        TrialTrainer(m, task, parts[k], num_layers)
        for m, k in zip(trial_models, order, strict=True)
    ]
    if resumed is not None:
        try:
            _resume(bert, trainers, resumed)
        except Exception as error:  # of another version of the program, or of torch
            raise CheckpointError(f"it does not fit ({type(error).__name__}: {error})") from error
    first_epoch = max(len(trainer.history) for trainer in trainers)
    if listener is not None:
        for trainer in trainers:
            listener.after_epoch(trainer)
    for epoch in range(first_epoch, trials[0].epochs + 1):
        alive = [trainer for trainer in trainers if trainer.error is None]
        if not alive:
            break
        train_epoch(bert, alive, epoch)
        _develop(bert, [trainer for trainer in alive if trainer.error is None])
        if listener is not None:
            for trainer in alive:
                listener.after_epoch(trainer)
        if keeper is not None and keeper.due():
            keeper.save(_state(bert, trainers, time.monotonic() - started))

    outcomes = _outcomes(bert, trainers, test, time.monotonic() - started, listener)
    by_trial = dict(zip(order, outcomes, strict=True))
    return [by_trial[k] for k in range(len(trials))]


def _state(
    bert: BertForSequenceClassification, trainers: list[TrialTrainer], seconds: float
) -> State:
    random = {"cpu": torch.get_rng_state()}
    if bert.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(bert.device)
    return State([trainer.state() for trainer in trainers], random, seconds)


def _resume(
    bert: BertForSequenceClassification, trainers: list[TrialTrainer], state: State
) -> None:
    for trainer, of_member in zip(trainers, state.trainers, strict=True):
        trainer.resume(of_member)
    torch.set_rng_state(state.random["cpu"])
    if bert.device.type == "cuda" and "cuda" in state.random:
        torch.cuda.set_rng_state(state.random["cuda"], bert.device)


def train_epoch(
    bert: BertForSequenceClassification, trainers: Sequence[TrialTrainer], epoch: int
) -> None:
    """One pass of each trainer over its own training set, in its own order."""
    bert.train()  # backbone dropout is active in training
    size = trainers[0].trial.batch_size
    orders = [batches.shuffled(len(c.parts.train), size, c.trial.seed, epoch) for c in trainers]
    for chosen in zip(*orders, strict=True):
        watchdog.beat()
        batch, labels = unpadded.pack([c.parts.train for c in trainers], chosen, bert.device)
        contexts = [trainer.context(len(chosen[0])) for trainer in trainers]
        logits = side_by_side.forward(bert, batch, contexts)
        losses = [
            _loss(of_stream, of_labels, trainer.task)
            for of_stream, of_labels, trainer in zip(logits, labels, trainers, strict=True)
        ]
        # Each loss depends on its own trial_model's parameters alone, so their sum serves them all.
        torch.stack(losses).sum().backward()
        for trainer, loss in zip(trainers, losses, strict=True):
            trainer.step()
            trainer.losses.append(loss.detach())
    for trainer in trainers:
        trainer.close_epoch(epoch)


def _loss(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy over classes, or mean squared error for regression; logits [batch, outputs]."""
    if task.regression:
        return nn.functional.mse_loss(logits[:, 0].float(), labels)
    return nn.functional.cross_entropy(logits.float(), labels)


def _develop(bert: BertForSequenceClassification, trainers: Sequence[TrialTrainer]) -> None:
    """Scores of every trainer on its development set, for each inference depth."""
    jobs = []
    for trainer in trainers:
        for depth in trainer.depths:
            if (
                trainer.trial.inference_depths is not None
                and trainer.trial.drop_range == "released"
            ):
                # The released code evaluates with what the last training step happened to skip.
                depth = trainer.num_layers - trainer.first
            jobs.append(Job(trainer, depth, trainer.parts.development))
    wanted = [(trainer, depth) for trainer in trainers for depth in trainer.depths]
    for (trainer, depth), scores in zip(wanted, evaluate(bert, jobs), strict=True):
        if trainer.error is None:
            if isinstance(scores, TrainingError):
                trainer.error = str(scores)
            else:
                trainer.developed(depth, scores)


def _outcomes(
    bert: BertForSequenceClassification,
    trainers: Sequence[TrialTrainer],
    test: Examples,
    train_seconds: float,
    listener: Listener | None,
) -> list[Outcome | TrainingError]:
    """Test every trainer at its best epochs: in turn the n-th depth of each, side by side."""
    final = {trainer: trainer.trial_model.selected for trainer in trainers}
    evaluations: dict[TrialTrainer, list[Evaluation]] = {trainer: [] for trainer in trainers}
    for turn in range(max(len(trainer.depths) for trainer in trainers)):
        turns = [c for c in trainers if c.error is None and turn < len(c.depths)]
        for trainer in turns:
            trainer.restore_best(trainer.depths[turn])
        started = time.monotonic()
        jobs = [Job(trainer, trainer.depths[turn], test) for trainer in turns]
        for job, scores in zip(jobs, evaluate(bert, jobs), strict=True):
            if isinstance(scores, TrainingError):
                job.trainer.error = str(scores)
                continue
            result = _evaluation(job, scores, final[job.trainer], time.monotonic() - started)
            result.input_histograms = histograms.of_inputs(
                bert, job.context, job.trainer.parts.development
            )
            evaluations[job.trainer].append(result)
            if listener is not None:
                listener.after_test(job.trainer, job.depth)
    return [
        TrainingError(trainer.error)
        if trainer.error is not None
        else Outcome(
            trainer.history,
            evaluations[trainer],
            train_seconds,
            sum(p.numel() for p in trainer.trial_model.parameters()),
        )
        for trainer in trainers
    ]


def _evaluation(
    job: Job, scores: dict[str, float], final_selected: list[int] | None, seconds: float
) -> Evaluation:
    """What there is to say of a test that gave those scores."""
    trainer, trial_model, first = job.trainer, job.trainer.trial_model, job.context.first
    best_epoch = trainer.best[job.depth].epoch
    return Evaluation(
        adapter_layers=[layer for layer in trial_model.layers if layer >= first],
        selected_layers=trial_model.selected,
        final_selected_layers=final_selected,
        best_epoch=best_epoch,
        development=trainer.history[best_epoch].development[job.depth],
        test=scores,
        input_histograms={},
        test_seconds=seconds,
        adapter_parameters=trial_model.parameters_in_use(first),
    )
