"""The outcome of a trial: its history, and a test for each inference depth."""

from dataclasses import dataclass

from aa_ray.training.histograms import Histogram
from aa_ray.training.trainer import Epoch


@dataclass
class Evaluation:
    """The test of one inference depth, with the weights of its best epoch.

    Attributes:
        adapter_layers: layers whose adapters were used; for a switched trial, all of its layers.
        selected_layers, final_selected_layers: layers whose switch picks the adapter in the test
            (at the best epoch, unless ``restored_switches`` says otherwise) and at the last epoch;
            None without switches.
        best_epoch: the first epoch with the highest development score, counted from 1.
        test: scores by metric name.
        answers: number of different answers in the test.
        input_histograms: layer -> inputs of its rational, on development examples.
        test_seconds: duration of the whole group's test.
        adapter_parameters: number of parameters of the adapters used, with rationals and switches.
    """

    adapter_layers: list[int]
    selected_layers: list[int] | None
    final_selected_layers: list[int] | None
    best_epoch: int
    development: dict[str, float]
    test: dict[str, float]
    answers: int
    input_histograms: dict[int, Histogram]
    test_seconds: float
    adapter_parameters: int


@dataclass
class Outcome:
    """The outcome of a trial: a history with one entry per epoch, and one evaluation per depth.

    ``train_seconds`` is the time of the whole group.
    """

    history: list[Epoch]
    evaluations: list[Evaluation]
    train_seconds: float
    trainable_parameters: int
