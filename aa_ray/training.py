"""Train and evaluate one trial (paper section 4; details as in the released code).

Knows nothing of Ray, of files, or of where the examples come from.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from aa_ray import batches, histograms, model, watchdog
from aa_ray.batches import Examples
from aa_ray.histograms import Histogram
from aa_ray.tasks import Task
from aa_ray.trial import Trial


class TrainingError(Exception):
    """Training cannot go on; the message says why and when."""


@dataclass
class Epoch:
    """What was measured after an epoch (epoch 0: before training, no losses and scores).

    Attributes:
        train_loss: mean over the epoch's steps.
        development: inference depth -> scores by metric name.
        logits: layer -> switch logits (identity, adapter).
        numerators, denominators: layer -> rational coefficients.
    """

    epoch: int
    train_loss: float | None = None
    development: dict[int, dict[str, float]] = field(default_factory=dict)
    logits: dict[int, list[float]] = field(default_factory=dict)
    numerators: dict[int, list[float]] = field(default_factory=dict)
    denominators: dict[int, list[float]] = field(default_factory=dict)


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
    """Everything a trial yields: the history with one entry per epoch, one evaluation per depth."""

    history: list[Epoch]
    evaluations: list[Evaluation]
    train_seconds: float
    trainable_parameters: int


@dataclass
class Best:
    """The best epoch so far of one inference depth."""

    epoch: int = 0
    score: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class State:
    """All that a training needs to go on after its last epoch, as if nothing had happened.

    Attributes:
        history: one entry per epoch so far.
        best: inference depth -> its best epoch so far.
        weights: name -> value of every trained parameter.
        optimizer: index of the parameter in Adam's groups -> its moments and step count.
        random: states of torch's generators, by device type.
        seconds: spent on training so far.
    """

    history: list[Epoch]
    best: dict[int, Best]
    weights: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    random: dict[str, Tensor]
    seconds: float


class Keeper(Protocol):
    """Who keeps states, so that an interrupted training can go on."""

    def due(self) -> bool:
        """Whether a state should be saved now."""

    def save(self, state: State) -> None:
        """Keep the state in place of the last one."""


def run(
    trial: Trial,
    task: Task,
    bert: BertForSequenceClassification,
    train: Examples,
    development: Examples,
    test: Examples,
    *,
    resumed: State | None = None,
    keeper: Keeper | None = None,
) -> Outcome:
    """Attach the trial's adapters to the frozen model, train them, and test the best epoch.

    AdapterDrop has one best epoch per inference depth, since each depth is a model of its own.

    Args:
        resumed: where an interrupted training of this trial had come to; it goes on from there.
        keeper: is given the state after each epoch that it wants.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    started = time.monotonic() - (resumed.seconds if resumed else 0.0)
    model.attach(bert, trial, task.outputs)
    depths = _depths(trial, bert)
    optimizer, decay = optimisation(bert, trial, len(train))
    if resumed is None:
        best = {depth: Best() for depth in depths}
        history = [_describe(bert, epoch=0)]
    else:
        best, history = resumed.best, resumed.history
        _resume(resumed, bert, optimizer, decay, math.ceil(len(train) / trial.batch_size))

    for epoch in range(len(history), trial.epochs + 1):
        loss = train_epoch(bert, trial, task, train, optimizer, decay, epoch)
        entry = _describe(bert, epoch)
        entry.train_loss = loss
        entry.development = _develop(bert, trial, task, development, depths)
        for depth, scores in entry.development.items():
            if scores[task.metrics[0]] > best[depth].score:
                best[depth] = Best(epoch, scores[task.metrics[0]], model.snapshot(bert))
        history.append(entry)
        if keeper is not None and keeper.due():
            seconds = time.monotonic() - started
            keeper.save(_state(bert, optimizer, history, best, seconds))

    train_seconds = time.monotonic() - started
    final = _selected(bert)
    evaluations = []
    for depth in depths:
        _restore(bert, trial, best[depth])
        result = _test(bert, trial, task, test, depth, best[depth].epoch, history, final)
        result.input_histograms = histograms.of_inputs(bert, development, trial.batch_size)
        evaluations.append(result)
    trainable = sum(p.numel() for p in model.trained_parameters(bert).values())
    return Outcome(history, evaluations, train_seconds, trainable)


def _state(
    bert: BertForSequenceClassification,
    optimizer: torch.optim.Optimizer,
    history: list[Epoch],
    best: dict[int, Best],
    seconds: float,
) -> State:
    """What the training has come to."""
    random = {"cpu": torch.get_rng_state()}
    if bert.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(bert.device)
    moments = optimizer.state_dict()["state"]
    return State(history, best, model.snapshot(bert), moments, random, seconds)


def _resume(
    state: State,
    bert: BertForSequenceClassification,
    optimizer: torch.optim.Optimizer,
    decay: torch.optim.lr_scheduler.LambdaLR,
    steps_per_epoch: int,
) -> None:
    """Put weights, Adam's moments, the learning rates' decay and the random state back."""
    model.restore(bert, state.weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
    done = (len(state.history) - 1) * steps_per_epoch
    decay.load_state_dict({**decay.state_dict(), "last_epoch": done, "_step_count": done + 1})
    for group, rate in zip(optimizer.param_groups, decay.base_lrs, strict=True):
        group["lr"] = rate * decay.lr_lambdas[0](done)
    torch.set_rng_state(state.random["cpu"])
    if bert.device.type == "cuda" and "cuda" in state.random:
        torch.cuda.set_rng_state(state.random["cuda"], bert.device)


def optimisation(
    bert: BertForSequenceClassification, trial: Trial, examples: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """Adam with the trial's three rates, and their linear decay to 0 over all of its steps."""
    steps = trial.epochs * math.ceil(examples / trial.batch_size)
    optimizer = torch.optim.Adam(model.parameter_groups(bert, trial))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)


def _depths(trial: Trial, bert: BertForSequenceClassification) -> tuple[int, ...]:
    """Inference depths to evaluate, in layers from the top; all layers unless AdapterDrop."""
    if trial.inference_depths is None:
        return (bert.config.num_hidden_layers,)
    return trial.inference_depths


def _develop(
    bert: BertForSequenceClassification,
    trial: Trial,
    task: Task,
    development: Examples,
    depths: tuple[int, ...],
) -> dict[int, dict[str, float]]:
    """Scores on the development set for each inference depth."""
    if trial.inference_depths is not None and trial.drop_range == "released":
        # The released code evaluates with what the last training step happened to skip.
        return dict.fromkeys(depths, evaluate(bert, trial, task, development, model.kept(bert)))
    return {depth: evaluate(bert, trial, task, development, depth) for depth in depths}


def train_epoch(
    bert: BertForSequenceClassification,
    trial: Trial,
    task: Task,
    train: Examples,
    optimizer: torch.optim.Optimizer,
    decay: torch.optim.lr_scheduler.LambdaLR,
    epoch: int,
) -> float:
    """One pass over the training set; returns the mean loss of its steps."""
    bert.train()  # backbone dropout is active in training
    num_layers = bert.config.num_hidden_layers
    parameters = list(model.trained_parameters(bert).values())
    losses = []
    for chosen in batches.shuffled(len(train), trial.batch_size, trial.seed, epoch):
        if trial.inference_depths is not None:
            model.keep_last(bert, max(0, num_layers - _skipped(trial, num_layers)))
        watchdog.beat()
        inputs, labels = train.batch(chosen, bert.device)
        loss = _loss(bert(**inputs).logits, labels, task)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, trial.max_gradient_norm)
        optimizer.step()
        decay.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"the training loss became {losses[-1]} in epoch {epoch}, step {len(losses)}; "
                "try lower learning rates"
            )
    return float(np.mean(losses))


def _skipped(trial: Trial, num_layers: int) -> int:
    """How many of the first layers a step of AdapterDrop skips, drawn uniformly.

    0..L-1 (Rücklé et al. 2021); in the released code 0..10 for every number of layers.
    """
    choices = num_layers if trial.drop_range == "layers" else 11
    return int(torch.randint(choices, ()))


def _loss(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy over classes, or mean squared error for regression; logits [batch, outputs]."""
    if task.regression:
        return nn.functional.mse_loss(logits[:, 0], labels)
    return nn.functional.cross_entropy(logits, labels)


def evaluate(
    bert: BertForSequenceClassification, trial: Trial, task: Task, examples: Examples, depth: int
) -> dict[str, float]:
    """The task's metrics on the examples, with the adapters of the last ``depth`` layers."""
    bert.eval()
    model.keep_last(bert, depth)
    logits = np.empty((len(examples), task.outputs), dtype=np.float32)
    with torch.inference_mode():
        for chosen in batches.by_length(examples, trial.batch_size):
            watchdog.beat()
            inputs, _ = examples.batch(chosen, bert.device)
            logits[chosen] = bert(**inputs).logits.float().cpu().numpy()
    if not np.isfinite(logits).all():
        raise TrainingError("the model's outputs became NaN or infinite; try lower learning rates")
    return task.scores(examples.labels, logits)


def _restore(bert: BertForSequenceClassification, trial: Trial, best: Best) -> None:
    """Put the best epoch's weights back."""
    weights = best.weights
    if trial.restored_switches == "last":  # the released code's checkpoints lack the logits
        weights = {name: v for name, v in weights.items() if not name.endswith(".logits")}
    model.restore(bert, weights)


def _test(
    bert: BertForSequenceClassification,
    trial: Trial,
    task: Task,
    test: Examples,
    depth: int,
    best_epoch: int,
    history: list[Epoch],
    final_selected: list[int] | None,
) -> Evaluation:
    """Evaluate the weights that the model has now on the test set."""
    started = time.monotonic()
    scores = evaluate(bert, trial, task, test, depth)
    first = bert.config.num_hidden_layers - depth
    in_use = {layer: m for layer, m in model.bottlenecks(bert).items() if layer >= first}
    return Evaluation(
        adapter_layers=sorted(in_use),
        selected_layers=_selected(bert),
        final_selected_layers=final_selected,
        best_epoch=best_epoch,
        development=history[best_epoch].development[depth],
        test=scores,
        input_histograms={},
        test_seconds=time.monotonic() - started,
        adapter_parameters=sum(p.numel() for m in in_use.values() for p in m.parameters()),
    )


def _selected(bert: BertForSequenceClassification) -> list[int] | None:
    switches = model.switches(bert)
    if not switches:
        return None
    return [layer for layer, switch in switches.items() if switch.selected]


def _describe(bert: BertForSequenceClassification, epoch: int) -> Epoch:
    """The state of switches and rationals after an epoch."""
    rationals = model.rationals(bert)
    return Epoch(
        epoch,
        logits={layer: s.logits.tolist() for layer, s in model.switches(bert).items()},
        numerators={layer: r.numerator.tolist() for layer, r in rationals.items()},
        denominators={layer: r.denominator.tolist() for layer, r in rationals.items()},
    )
