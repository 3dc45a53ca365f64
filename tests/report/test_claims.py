"""aa_ray.report.claims: verdicts on made-up rows where the right answer is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aa_ray.core.architectures import METHODS, SEEDS
from aa_ray.report import claims
from aa_ray.report.claims import Judgement
from aa_ray.report.results import Results
from aa_ray.report.verdicts import FAILS, HOLDS, OPEN
from tests.report.test_paper_tables import made_up
from tests.study.test_grid import make_study

LAYERS = 5


def results(
    gain: Callable[[str], float],
    noise: float = 0.002,
    seeds: tuple[int, ...] = SEEDS,
    change: Callable[[dict[str, Any], np.random.Generator], None] = lambda row, rng: None,
    **changes: Any,
) -> Results:
    """Rows whose test metric is 0.6 + gain(method) + noise, different per task."""
    study = make_study(methods=tuple(METHODS), seeds=seeds, **changes)
    rng = np.random.default_rng(2)  # in whose draws no interval misses its effect by chance
    rows = made_up(study)
    for row in rows:
        level = 0.1 if row["task"] == "cola" else 0.0
        row["test_metric"] = 0.6 + level + gain(row["method"]) + rng.normal(0, noise)
        row |= {
            "num_layers": LAYERS, "best_epoch": 1, "input_histograms": None,
            "numerators": [[[1.0, 0, 0, 0, 0, 0]] * LAYERS] * 2,
            "denominators": [[[0.0] * 4] * LAYERS] * 2,
            "adapter_parameters": 1000 * len(row["adapter_layers"]),
        }  # fmt: skip
        change(row, rng)
    return Results(study, rows)


def verdicts(found: Results) -> dict[str, set[str]]:
    judged: dict[str, set[str]] = {}
    for judgement in claims.judge(found):
        judged.setdefault(judgement.claim, set()).add(judgement.verdict)
    return judged


def judgement(found: Results, claim: str) -> Judgement:
    return next(j for j in claims.judge(found) if j.claim == claim)


def as_in_the_paper(method: str) -> float:
    """A world in which the paper is right: 5 points for focused, less with fewer layers."""
    if method.startswith("aa-focused"):
        return 0.05
    return {"focused-last-n-1": -0.01, "focused-last-n-2": -0.02, "switch-only": -0.05}.get(
        method, 0
    )


def test_a_world_in_which_the_paper_is_right() -> None:
    found = verdicts(results(as_in_the_paper, regimes=("100", "300")))
    for claim in ("C1", "C2", "C4", "C5", "C6", "C7", "C8", "C9", "C10"):
        assert found[claim] == {HOLDS}, claim
    assert found["C3"] == {OPEN}  # no full data


def test_the_size_of_an_effect() -> None:
    effect = judgement(results(as_in_the_paper), "C2").effect
    assert effect.mean == pytest.approx(5.0, abs=0.3)
    assert effect.low < 5.0 < effect.high and effect.pairs == 2 * len(SEEDS)


def test_a_world_in_which_the_paper_is_wrong() -> None:
    def gain(method: str) -> float:
        return {"baseline": 0.05, "aa": -0.05, "adapter-drop": 0.1}.get(method, 0.0)

    found = verdicts(results(gain))
    for claim in ("C1", "C2", "C5", "C6", "C8", "C9"):
        assert found[claim] == {FAILS}, claim


def test_a_world_without_differences() -> None:
    found = verdicts(results(lambda method: 0.0))
    for claim in ("C1", "C4", "C6", "C9"):
        assert found[claim] == {HOLDS}, claim
    for claim in ("C2", "C5", "C8", "C10"):  # no advantage beyond the margin
        assert found[claim] == {FAILS}, claim


def test_noise_leaves_claims_open_and_says_how_many_seeds_would_settle() -> None:
    noisy = results(as_in_the_paper, noise=0.15, seeds=(42, 92))
    found = judgement(noisy, "C8")
    assert found.verdict == OPEN
    assert found.seeds_needed is not None and found.seeds_needed > 2


def test_one_seed_is_compared_over_tasks() -> None:
    found = judgement(results(as_in_the_paper, noise=1e-4, seeds=(42,)), "C2")
    assert found.effect.pairs == 2 and found.verdict == HOLDS
    alone = judgement(results(as_in_the_paper, seeds=(42,), tasks=("cola",)), "C2")
    assert alone.verdict == OPEN and alone.effect.mean == pytest.approx(5, abs=1)


def test_no_rows_at_all() -> None:
    study = make_study(methods=tuple(METHODS))
    empty = Results(study, [])
    assert {j.verdict for j in claims.judge(empty)} == {OPEN}
    assert "–" in claims.table(empty).render("text")


def test_full_data_decides_c3_only() -> None:
    found = verdicts(results(lambda method: 0.0, noise=1e-4, regimes=("full",)))
    assert found["C3"] == {HOLDS} and found["C2"] == {OPEN}


@pytest.mark.parametrize(("by_layer", "verdict"), [(True, HOLDS), (False, FAILS)])
def test_activations_differ_between_layers_or_only_by_chance(by_layer: bool, verdict: str) -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        chance = rng.normal(0, 0.05 if by_layer else 1.0)  # shared by the layers of a training
        row["numerators"] = [
            [[(n if by_layer else 0.01 * n) + chance, 0, 0, 0, 0, 0] for n in range(LAYERS)]
        ] * 2

    found = results(as_in_the_paper, change=change, regimes=("100", "300", "500"))
    assert judgement(found, "C11").verdict == verdict


@pytest.mark.parametrize(("varied", "verdict"), [(True, HOLDS), (False, FAILS)])
def test_selected_layers_vary_or_not(varied: bool, verdict: str) -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["selected_layers"] is not None and row["seed"] != 42 and varied:
            row["selected_layers"] = rng.permutation(LAYERS)[:2].tolist()

    assert judgement(results(as_in_the_paper, change=change), "C12").verdict == verdict


def test_selected_layers_between_tasks() -> None:
    found = claims.layers_differ(results(as_in_the_paper), "tasks")
    # SST-2 {1, 3} and CoLA {0, 1, 2} share one layer of four, for every seed.
    assert found.effect.mean == pytest.approx(0.75) and found.verdict == HOLDS


def test_parameters() -> None:
    found = judgement(results(as_in_the_paper), "C13")
    assert found.effect.mean == pytest.approx(1 / LAYERS) and found.verdict == HOLDS


def test_table_says_what_decides() -> None:
    table = claims.table(results(as_in_the_paper))
    assert (
        "not corrected for the number of claims" in table.caption and "±2 points" in table.caption
    )
    [section] = table.sections
    assert len(section.lines) == len(claims.COMPARISONS) + 4
    assert section.lines[0][0].startswith("C1 ") and section.lines[-1][0].startswith("C13 ")
