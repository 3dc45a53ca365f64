"""The output for one trial: its settings, its learning curve while it trains, its result."""

import math
from collections.abc import Sequence

import torch

from aa_ray.commands import card
from aa_ray.commands.trained import Taker
from aa_ray.core.adapter import picks_adapter
from aa_ray.core.architectures import METHODS
from aa_ray.core.deviations import POOLING
from aa_ray.data import tasks
from aa_ray.data.glue import Splits
from aa_ray.report.text import listed
from aa_ray.store.rows import Row
from aa_ray.study.grid import Study
from aa_ray.training.trainer import Epoch, TrialTrainer
from aa_ray.trial import Trial


def describe(study: Study, trial: Trial, splits: Splits) -> str:
    """The trial's settings, one per line."""
    backbone, task = study.backbone, tasks.get(trial.task)
    [method] = study.methods
    sizes = f"{len(splits.train)} to train on, {len(splits.development)} development"
    lines = [
        ("", f"{METHODS[method].title}: {method} {trial.task} {trial.regime} seed {trial.seed}"),
        ("task", f"{task.title}, {sizes}, {len(splits.test)} test examples; {trial.data}"),
        ("backbone", f"{backbone.identity}, {backbone.num_layers} layers of "
         f"{backbone.hidden_size} units, frozen, {trial.precision}"),
        ("reads", POOLING.choices[trial.pooling]),
        ("adapters", _adapters(trial)),
        ("rates", card.rates(trial)),
        ("training", f"{trial.epochs} epoch{'s' if trial.epochs > 1 else ''}, batches of "
         f"{trial.batch_size}, up to {trial.max_length} tokens, {torch.get_num_threads()} CPU "
         "threads"),
    ]  # fmt: skip
    settings = [f"{n}={v}" for _, settings in study.variants for n, v in settings]
    if settings:
        lines.append(("settings", " ".join(settings)))
    return "\n".join(f"{name:<10}{text}".strip() for name, text in [*lines, ("trial", trial.id)])


def _adapters(trial: Trial) -> str:
    if not trial.layers:
        return "in no layer" + ("; the backbone is trained" if trial.fine_tunes else "")
    text = f"in layers {_listed(trial.layers)}; {trial.configuration or trial.activation}"
    if trial.switched:
        text += ", each behind a switch"
    if trial.inference_depths is not None:
        depths = " and ".join(map(str, trial.inference_depths))
        text += f"; the first ones skipped at random, tested with the last {depths}"
    return text


def _listed(layers: Sequence[int]) -> str:
    return listed(layers, " ", none="-")


class Curve:
    """Prints the learning curve during training; a ``loop.Listener``.

    Args:
        trial: the trial of a group to show.
        taker: another listener to call.
    """

    def __init__(self, trial: Trial, taker: Taker | None) -> None:
        self._trial, self._taker = trial, taker
        self._printed = 0

    def after_epoch(self, trainer: TrialTrainer) -> None:
        if trainer.trial != self._trial:
            return
        metric = trainer.task.metrics[0]
        if not self._printed:
            count = sum(p.numel() for p in trainer.trial_model.parameters())
            print(heading(count, metric, trainer.depths, trainer.trial, trainer.num_layers))
            self._printed = 1  # epoch 0 is the state before training
        for n in range(self._printed, len(trainer.history)):
            print(line(trainer.history[: n + 1], metric), flush=True)
        self._printed = len(trainer.history)

    def after_test(self, trainer: TrialTrainer, depth: int) -> None:
        if self._taker is not None:
            self._taker.after_test(trainer, depth)


def heading(
    parameters: int, metric: str, depths: Sequence[int], trial: Trial, num_layers: int
) -> str:
    """The lines above a learning curve."""
    columns = [f"{'score' if d == num_layers else f'last {d}':>10}" for d in depths]
    return (
        f"trained   {parameters:,} parameters\n\n"
        f"development {metric} x 100 after each epoch; * is the best so far\n"
        f"epoch      loss {' '.join(columns)}" + ("  adapters on in" if trial.switched else "")
    )


def line(history: Sequence[Epoch], metric: str) -> str:
    """The last line of a learning curve: epoch, mean training loss, scores by depth, switches."""
    last = history[-1]
    text = f"{last.epoch:>5}  {last.train_loss:>8.4f}"
    for depth, scores in last.development.items():
        earlier = [epoch.development[depth][metric] for epoch in history[1:-1]]
        best = scores[metric] > max(earlier, default=-math.inf)
        text += f" {100 * scores[metric]:>9.1f}{'*' if best else ' '}"
    if last.logits:
        on = [layer for layer, logits in last.logits.items() if picks_adapter(torch.tensor(logits))]
        text += f"  {_listed(on)}"
    return text.rstrip()


def show(rows: list[Row], num_layers: int) -> None:
    """Print the curve and result of a trial that has rows."""
    first = rows[0]
    if first["status"] == "failed":
        return
    trial = Trial.from_json(first["settings"])
    depths = trial.depths(num_layers)
    metric = first["metric_name"]
    history = [Epoch(0)]
    for n in range(first["epochs"]):
        logits = first["switch_logits"][n + 1] if first["switch_logits"] else []
        history.append(
            Epoch(
                n + 1,
                first["curves"][n]["train_loss"],
                {d: {metric: row["curves"][n]["dev_metric"]}
                 for d, row in zip(depths, rows, strict=True)},
                {layer: of_layer for layer, of_layer in enumerate(logits) if of_layer},
            )
        )  # fmt: skip
    print(heading(first["trainable_parameters"], metric, depths, trial, num_layers))
    for n in range(1, len(history)):
        print(line(history[: n + 1], metric))
    print(result(rows))
    print(f"finished before, at {first['finished_at']:%Y-%m-%d %H:%M} UTC on {first['device']}")


def result(rows: list[Row]) -> str:
    """The result from finished rows: best epoch, layers and test scores for each depth."""
    lines = [""]
    for row in rows:
        scores = ", ".join(
            f"{name} {100 * value:.1f}"
            for name, value in row["test_metrics"].items()
            if value is not None
        )
        lines.append(f"best epoch {row['best_epoch']}, development {row['metric_name']} "
                     f"{100 * row['dev_metric']:.1f}")  # fmt: skip
        if row["selected_layers"] is not None:
            lines.append(f"selected layers {_listed(row['selected_layers'])}")
        used = f" (adapters in layers {_listed(row['adapter_layers'])})" if len(rows) > 1 else ""
        lines.append(f"test {scores}{used}")
    return "\n".join(lines)
