"""aa_ray.report.claims: verdicts on synthetic rows with known answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aa_ray.core.architectures import METHODS, OTHERS, SEEDS
from aa_ray.report import claims, comparisons
from aa_ray.report.judgement import Judgement
from aa_ray.report.results import Results
from aa_ray.report.verdicts import FAILS, HOLDS, NOT_RUN, OPEN, UNINFORMATIVE
from tests.report.test_paper_tables import made_up
from tests.study.test_grid import make_study

LAYERS = 5
# The methods that claims concern; others would only shift the random draws.
OF_THE_STUDY = tuple(name for name in METHODS if name not in OTHERS)


def results(
    gain: Callable[[str], float],
    noise: float = 0.002,
    seeds: tuple[int, ...] = SEEDS,
    change: Callable[[dict[str, Any], np.random.Generator], None] = lambda row, rng: None,
    **changes: Any,
) -> Results:
    """Return rows whose test metric is 0.6 + gain(method) + noise; tasks differ in level."""
    study = make_study(methods=OF_THE_STUDY, seeds=seeds, **changes)
    rng = np.random.default_rng(2)  # with this seed no interval misses its effect by chance
    rows = made_up(study)
    for row in rows:
        level = 0.1 if row["task"] == "cola" else 0.0
        row["test_metric"] = 0.6 + level + gain(row["method"]) + rng.normal(0, noise)
        row |= {
            "num_layers": LAYERS, "best_epoch": 1, "epochs": 1, "input_histograms": None,
            "array": None, "resumed_after": [], "host": "a", "device": "cpu",
            "train_seconds": 10.0 + len(row["adapter_layers"]) + rng.normal(0, 0.1),
            "test_seconds": 2.0 + rng.normal(0, 0.1),
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


def judgement(found: Results, claim: str, words: str = "") -> Judgement:
    return next(j for j in claims.judge(found) if j.claim == claim and words in j.text)


def as_in_the_paper(method: str) -> float:
    """Return the gain of a method in a world in which the paper is right.

    Focused adapters gain 5 points, and variants with fewer layers lose some.
    """
    if method.startswith("aa-focused"):
        return 0.05
    return {"focused-last-n-1": -0.01, "focused-last-n-2": -0.02, "switch-only": -0.05}.get(
        method, 0
    )


def test_a_world_in_which_the_paper_is_right() -> None:
    found = verdicts(results(as_in_the_paper, regimes=("100", "300")))
    for claim in ("C4", "C5", "C6", "C7", "C8", "C9", "C10"):
        assert found[claim] == {HOLDS}, claim
    assert found["C3"] == {NOT_RUN}  # there is no full data
    assert found["C2"] == {HOLDS}  # 5 points are close enough to 4.24 and 5.57
    world = results(as_in_the_paper, regimes=("100", "300"))
    assert judgement(world, "C1", "on par").verdict == HOLDS
    assert judgement(world, "C13", "training").verdict == HOLDS
    assert judgement(world, "C13", "inference").verdict == FAILS  # equally long


def test_the_size_of_an_effect() -> None:
    effect = judgement(results(as_in_the_paper), "C2").effect
    assert effect.mean == pytest.approx(5.0, abs=0.3)
    assert effect.low < 5.0 < effect.high and effect.pairs == 2 * len(SEEDS)


def test_a_gain_unlike_the_papers() -> None:
    def gain(method: str) -> float:
        return 0.2 if method.startswith("aa-focused") else 0.0

    world = results(gain)
    assert judgement(world, "C2", "on every task").verdict == HOLDS
    assert judgement(world, "C2", "gains 4.24").verdict == FAILS


def test_a_world_in_which_the_paper_is_wrong() -> None:
    def gain(method: str) -> float:
        return {"baseline": 0.05, "aa": -0.05, "adapter-drop": 0.1}.get(method, 0.0)

    world = results(gain)
    for claim in ("C2", "C5", "C6", "C8", "C9"):
        assert verdicts(world)[claim] == {FAILS}, claim
    assert judgement(world, "C1", "on par").verdict == FAILS


def test_a_world_without_differences() -> None:
    world = results(lambda method: 0.0)
    for claim in ("C4", "C6", "C9"):
        assert verdicts(world)[claim] == {HOLDS}, claim
    for claim in ("C2", "C5", "C8", "C10"):  # no advantage beyond the margin
        assert judgement(world, claim).verdict == FAILS, claim


def test_one_task_that_is_lost_decides_a_claim_about_every_task() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["task"] == "cola" and row["method"].startswith("aa-focused"):
            row["test_metric"] -= 0.1  # 5 points ahead on SST-2, 5 behind on CoLA

    world = results(lambda method: 0.05 if method.startswith("aa-f") else 0.0, change=change)
    found = judgement(world, "C2", "sim beats")
    assert found.effect.mean == pytest.approx(0, abs=0.3) and found.verdict == FAILS


def test_considerably_means_by_more_than_the_margin() -> None:
    def gain(method: str) -> float:
        return 0.01 if method.startswith("aa-focused") else 0.0

    world = results(gain, noise=0.0005)
    assert judgement(world, "C2", "sim beats").verdict == HOLDS  # the advantage is one point
    assert judgement(world, "C5").verdict == judgement(world, "C10").verdict == FAILS
    smaller = {j.claim: j.verdict for j in claims.judge(world, margin=0.5)}
    assert smaller["C5"] == smaller["C10"] == HOLDS


def test_noise_leaves_claims_open_and_says_how_many_seeds_would_settle() -> None:
    noisy = results(as_in_the_paper, noise=0.15, seeds=(42, 92))
    found = judgement(noisy, "C8")
    assert found.verdict == OPEN
    assert found.seeds_needed is not None and found.seeds_needed > 2


def test_one_seed_is_compared_over_tasks() -> None:
    world = results(as_in_the_paper, noise=1e-4, seeds=(42,))
    found = judgement(world, "C10")
    assert found.effect.pairs == 2 and found.effect.over_strata and found.verdict == HOLDS
    assert judgement(world, "C2").verdict == OPEN  # each task has one value
    alone = judgement(results(as_in_the_paper, seeds=(42,), tasks=("cola",)), "C2")
    assert alone.verdict == OPEN and alone.effect.mean == pytest.approx(5, abs=1)


def test_no_rows_at_all() -> None:
    study = make_study(methods=OF_THE_STUDY)
    empty = Results(study, [])
    assert {j.verdict for j in claims.judge(empty)} == {NOT_RUN}
    assert "–" in claims.table(empty).render("text", all_columns=True)


def test_full_data_decides_c3_only() -> None:
    found = verdicts(results(lambda method: 0.0, noise=1e-4, regimes=("full",)))
    assert found["C3"] == {HOLDS} and found["C2"] == {NOT_RUN}


def at_chance(*tasks: str) -> Callable[[dict[str, Any], np.random.Generator], None]:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["task"] in tasks:
            row["chance"] = 0.9

    return change


def test_nothing_is_decided_where_nothing_is_learned() -> None:
    world = results(as_in_the_paper, change=at_chance("sst2", "cola"))
    judged = {j for j in claims.judge(world) if j.effect.pairs and j.claim != "C13"}
    assert {j.verdict for j in judged} == {UNINFORMATIVE}
    assert {j.learned for j in judged} == {(0, 2)}
    assert {j.seeds_needed for j in judged} == {None}


def test_one_learned_cell_is_enough_only_if_there_is_no_other() -> None:
    world = results(as_in_the_paper, change=at_chance("cola"))
    found = judgement(world, "C5")
    assert found.verdict == UNINFORMATIVE and found.learned == (1, 2)
    assert found.effect.pairs == len(SEEDS)  # SST-2's pairs only
    alone = judgement(results(as_in_the_paper, tasks=("sst2",)), "C5")
    assert alone.verdict == HOLDS and alone.learned == (1, 1)
    nothing = results(as_in_the_paper, tasks=("sst2",), change=at_chance("sst2"))
    assert judgement(nothing, "C5").verdict == UNINFORMATIVE


def test_a_cell_counts_where_one_of_two_has_learned() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["method"] == "baseline":
            row["chance"] = 0.9

    world = results(as_in_the_paper, change=change)
    assert judgement(world, "C9").learned == (2, 2)


def test_what_is_not_learned_does_not_thin_out_an_effect() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        at_chance("300", "500")(row, rng)
        if row["regime"] != "100":
            row |= {"chance": 0.9, "test_metric": 0.5 + rng.normal(0, 0.002)}

    world = results(as_in_the_paper, change=change, regimes=("100", "300", "500"))
    found = judgement(world, "C5")
    assert found.learned == (2, 6) and found.effect.mean == pytest.approx(5, abs=0.5)


def test_runs_that_take_off_or_not_have_intervals_of_their_shares() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        fails = row["task"] == "sst2" and row["method"] == "switch-only" and row["seed"] != 42
        row |= {"chance": 0.5, "test_metric": 0.5 if fails else row["test_metric"] + 0.1}

    found = judgement(results(as_in_the_paper, change=change), "C8").effect
    assert [(share.took_off, share.of) for share in found.shares] == [(5, 5), (1, 5)]
    assert claims.claims_table.freedom(found).endswith("take-off, n=5")


@pytest.mark.parametrize(("layers", "verdict"), [(3, HOLDS), (5, FAILS), (2, FAILS)])
def test_the_share_of_layers_that_aa_selects(layers: int, verdict: str) -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["selected_layers"] is not None:
            row["selected_layers"] = list(range(layers))

    found = judgement(results(as_in_the_paper, change=change), "C1", "layers")
    assert found.effect.mean == layers / LAYERS and found.verdict == verdict


def test_parameters() -> None:
    found = judgement(results(as_in_the_paper), "C13")
    assert found.effect.mean == pytest.approx(1 / LAYERS) and found.verdict == FAILS

    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        row["adapter_parameters"] = 1000 if row["method"] == "baseline" else 545

    assert judgement(results(as_in_the_paper, change=change), "C13").verdict == HOLDS


@pytest.mark.parametrize(
    "change", [{"array": ["a", "b"]}, {"resumed_after": [3]}, {"host": "another"}]
)
def test_times_are_those_of_runs_that_can_be_compared(change: dict[str, Any]) -> None:
    def disturbed(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["method"] == "baseline":
            row |= change

    found = judgement(results(as_in_the_paper, change=disturbed), "C13", "training")
    assert found.effect.pairs == 0 and found.verdict == NOT_RUN


def test_table_says_what_decides() -> None:
    world = results(as_in_the_paper)
    table = claims.table(world)
    assert "Holm's method" in table.caption and "±2 points" in table.caption
    [section] = table.sections
    assert len(section.lines) == len(comparisons.COMPARISONS) + 1 + 1 + 2 + 2 + 3
    assert section.lines[0][0].startswith("C1 ") and section.lines[-1][0].startswith("C13 ")
    assert "±3 points" in claims.table(world, margin=3.0).caption
