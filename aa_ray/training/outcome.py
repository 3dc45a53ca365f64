"""What a trial yields: its history, and a test for each inference depth."""

from dataclasses import dataclass

from aa_ray.training.histograms import Histogram
from aa_ray.training.trainer import Epoch


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
        answers: number of different answers given in the test.
        input_histograms: layer -> what its rational saw, on development examples.
        test_seconds: of the whole group's test.
        adapter_parameters: parameters of the adapters in use, rationals and switches included.
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
    """Everything a trial yields: the history with one entry per epoch, one evaluation per depth.

    ``train_seconds`` are the whole group's.
    """

    history: list[Epoch]
    evaluations: list[Evaluation]
    train_seconds: float
    trainable_parameters: int
