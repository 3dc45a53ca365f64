"""aa_ray.report.learned_activations and claim C11: curves against relabelled ones."""

from typing import Any

import numpy as np
import pytest

from aa_ray.report import learned_activations
from aa_ray.report.results import Results
from aa_ray.report.verdicts import HOLDS, OPEN
from tests.report.test_claims import LAYERS, as_in_the_paper, judgement, results


def with_constants(constant: Any, **changes: Any) -> Results:
    """Return results in which each layer's last R(x) is constant.

    ``constant`` maps (row, layer, rng) to its value.
    """

    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        first = [[1.0, 0, 0, 0, 0, 0]] * LAYERS
        last = [[constant(row, n, rng), 0, 0, 0, 0, 0] for n in range(LAYERS)]
        row["numerators"] = [first, first, last]
        row["denominators"] = [[[0.0] * 4] * LAYERS] * 3

    settings: dict[str, Any] = {"tasks": ("sst2", "cola", "rte", "mrpc"), "regimes": ("100",)}
    return results(as_in_the_paper, change=change, **(settings | changes))


def noise(row: dict[str, Any], layer: int, rng: np.random.Generator) -> float:
    return float(rng.normal())


def by_layer(row: dict[str, Any], layer: int, rng: np.random.Generator) -> float:
    return layer + float(rng.normal(0, 0.1))


def by_layer_and_seed(row: dict[str, Any], layer: int, rng: np.random.Generator) -> float:
    return by_layer(row, layer, rng) + 100 * row["seed"]  # the same for all layers of a run


def by_task(row: dict[str, Any], layer: int, rng: np.random.Generator) -> float:
    return {"sst2": 0.0, "cola": 3.0, "rte": 6.0, "mrpc": 9.0}.get(row["task"], 0.0) + noise(
        row, layer, rng
    )


def by_seed(row: dict[str, Any], layer: int, rng: np.random.Generator) -> float:
    return float(row["seed"])


@pytest.mark.parametrize(
    ("constant", "layers", "tasks"),
    [
        (noise, OPEN, OPEN),
        (by_layer, HOLDS, OPEN),
        (by_layer_and_seed, HOLDS, OPEN),
        (by_task, OPEN, HOLDS),
        (by_seed, OPEN, OPEN),
    ],
)
def test_activations_differ_between_layers_and_between_tasks(
    constant: Any, layers: str, tasks: str
) -> None:
    world = with_constants(constant)  # epoch 1, the best, is the same everywhere
    assert judgement(world, "C11", "layers").verdict == layers
    assert judgement(world, "C11", "tasks").verdict == tasks


def test_the_distance_is_that_of_the_curves() -> None:
    test = learned_activations.between_layers(with_constants(lambda row, layer, rng: float(layer)))
    differences = [abs(i - j) for i in range(LAYERS) for j in range(LAYERS) if i != j]
    assert test is not None and test.observed == pytest.approx(np.mean(differences))


def test_one_seed_says_nothing() -> None:
    world = with_constants(by_layer, seeds=(42,))
    assert learned_activations.between_layers(world) is None
    assert judgement(world, "C11", "layers").verdict == OPEN


def histogram(low: float, high: float, counts: list[int]) -> dict[str, Any]:
    return {"low": low, "high": high, "counts": counts}


def test_points_weigh_as_often_as_they_were_seen() -> None:
    rows: Any = [
        {"input_histograms": [histogram(-1.0, 1.0, [1, 1]), None]},
        {"input_histograms": [histogram(1.0, 3.0, [100, 300])]},
        {"input_histograms": None},
    ]
    x, weights = learned_activations.seen(rows)
    assert (x[0], x[-1]) == (-1.0, 3.0) and weights.sum() == pytest.approx(1)
    # Rationals have equal weights: half of the weight is below 1, three eighths above 2.
    assert weights[x < 1].sum() == pytest.approx(1 / 2, abs=0.02)
    assert weights[x > 2].sum() == pytest.approx(3 / 8, abs=0.02)


def test_where_nothing_is_known_of_the_inputs_all_points_weigh_alike() -> None:
    x, weights = learned_activations.seen([])
    assert (x[0], x[-1]) == (-2.0, 2.0) and len(set(weights)) == 1


def test_differences_where_nothing_was_seen_do_not_count() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        # R(x) = 1 + c (x - 1)^2 (x + 1)^2 ... is 1 at -1 and at 1, where all inputs were.
        c = float(rng.normal(0, 1))
        row["numerators"] = [[[1 + c, 0, -2 * c, 0, c, 0]] * LAYERS] * 2
        counts = [1000] + [0] * 62 + [1000]
        row["input_histograms"] = [histogram(-1.0, 1.0, counts)] * LAYERS

    world = results(as_in_the_paper, change=change, tasks=("sst2", "cola"))
    [rows] = [
        [row for row, _ in learned_activations.complete(world, "100")],
    ]
    x, weights = learned_activations.seen(rows)
    spread = np.ptp([learned_activations._curves(row, x)[0] for row in rows], axis=0)
    assert np.sqrt((weights * spread**2).sum()) < 0.02 < spread.max()
