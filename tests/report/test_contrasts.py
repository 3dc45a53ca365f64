"""aa_ray.report.contrasts on synthetic studies whose parts contribute known amounts."""

from collections.abc import Mapping

import pytest

from aa_ray.core.architectures import METHODS
from aa_ray.report import contrasts
from aa_ray.report.contrasts import ALIKE, DIFFERS, Look
from aa_ray.report.results import Results
from aa_ray.report.verdicts import FAILS, OPEN, UNINFORMATIVE
from tests.report.test_claims import at_chance, results

ACTIVATION, DEPTH, BOTH, AA_SWITCH, SELECTION = (shown.text for shown in contrasts.CONTRASTS)

# A rational gains 4 points, the last layers lose 6, and the combination gains 3 more.
GAINS = {
    "baseline": 0.0,
    "rational-only": 0.04,
    "baseline-last-n": -0.06,
    "rational-last-n": 0.01,
    "aa-focused-sim": 0.01,  # the same trials as rational-last-n
    "aa-focused-uni": 0.01,
    "aa": 0.0,
    "switch-only": 0.0,
    "aa-focused-spec": 0.0,
    "random-n": -0.08,
}


def study(gains: Mapping[str, float] = GAINS, noise: float = 0.002, **changes: object) -> Results:
    assert set(GAINS) <= set(METHODS)
    return results(lambda method: gains.get(method, 0.0), noise, **changes)  # type: ignore[arg-type]


def verdicts(policies: Mapping[str, Results], margin: float = 2.0) -> dict[str, dict[str, str]]:
    return {
        section.heading: {label: entries[-2].text for label, entries in section.lines}
        for section in contrasts.table(policies, Look(margin=margin)).sections
    }


def test_contrasts_are_those_of_the_two_by_two() -> None:
    [judged] = contrasts.judge({"released": study()}).values()
    means = {judgement.text: judgement.effect.mean for judgement in judged}
    assert means[ACTIVATION] == pytest.approx((4 + 7) / 2, abs=0.3)
    assert means[DEPTH] == pytest.approx((-6 - 3) / 2, abs=0.3)
    assert means[BOTH] == pytest.approx(7 - 4, abs=0.4)
    assert means[AA_SWITCH] == pytest.approx(0, abs=0.3)
    assert means[SELECTION] == pytest.approx(8, abs=0.3)
    assert verdicts({"released": study()}) == {
        "released": {ACTIVATION: DIFFERS, DEPTH: DIFFERS, BOTH: DIFFERS, AA_SWITCH: ALIKE,
                     SELECTION: DIFFERS}
    }  # fmt: skip


def test_an_advantage_under_one_policy_is_compared_across_both() -> None:
    released = study({**GAINS, "aa": 0.05})
    found = verdicts({"released": released, "tuned": study()})
    assert list(found) == ["released", "tuned", "released minus tuned"]
    assert found["released minus tuned"] == {"AA minus Baseline": DIFFERS}
    assert found["released"][AA_SWITCH] == DIFFERS and found["tuned"][AA_SWITCH] == ALIKE
    same = verdicts({"released": study(), "tuned": study()})
    assert same["released minus tuned"] == {"AA minus Baseline": ALIKE}


def test_p_values_are_adjusted_for_all_contrasts_of_all_policies() -> None:
    one = contrasts.judge({"released": study(noise=0.02)})["released"]
    two = contrasts.judge({"released": study(noise=0.02), "tuned": study(noise=0.02)})["released"]
    pairs = [(a.fails, b.fails) for a, b in zip(one, two, strict=True)]
    assert all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def test_noise_and_chance_decide_nothing() -> None:
    [noisy] = verdicts({"released": study(noise=0.2)}).values()
    assert set(noisy.values()) == {OPEN}
    nothing = study(change=at_chance("sst2", "cola"))
    [unlearned] = verdicts({"released": nothing}).values()
    assert set(unlearned.values()) == {UNINFORMATIVE}


def test_the_margin_is_that_asked_for() -> None:
    wide = verdicts({"released": study()}, margin=20.0)["released"]
    assert set(wide.values()) == {ALIKE}
    assert "±20 points" in contrasts.table({"released": study()}, Look(margin=20.0)).caption


def test_without_rows_there_are_dashes() -> None:
    empty = Results(study().study, [])
    [section] = contrasts.table({"released": empty}).sections
    assert {entries[0].text for _, entries in section.lines} == {"–"}


def test_some_are_tested_together_at_a_level_of_their_own() -> None:
    policies = {"released": study(noise=0.02), "tuned": study(noise=0.02)}
    look = Look(("activation-x-depth", "released:selection"), alpha=0.025, margin=3.0)
    table = contrasts.table(policies, look=look)
    shown = {section.heading: dict(section.lines) for section in table.sections}
    assert {name: list(lines) for name, lines in shown.items()} == {
        "released": [BOTH, SELECTION], "tuned": [BOTH]
    }  # fmt: skip
    assert table.columns[1] == "97.5 % interval"
    assert "a verdict needs p of at most 2.5 %" in table.caption
    assert "95 % interval within ±3 points; differs: 97.5 % interval without 0" in table.caption
    # The correction covers three tests, not eleven: the smallest p is multiplied by three.
    alone = contrasts.judge(policies, look=Look(("released:selection",)))["released"][0]
    together = contrasts.judge(policies, look=look)["released"][1]
    assert alone.fails < together.fails <= 3 * alone.fails
    low, high = together.effect.limits(0.975)
    assert shown["released"][SELECTION][1].text == f"{low:+.2f} to {high:+.2f}"


def test_a_verdict_needs_the_level_asked_for() -> None:
    def verdict(alpha: float) -> str:
        [[judged]] = contrasts.judge(
            {"released": study()}, look=Look(("activation-x-depth",), alpha)
        ).values()
        return judged.verdict

    [[judged]] = contrasts.judge({"released": study()}, look=Look(("activation-x-depth",))).values()
    assert verdict(judged.fails * 1.1) == FAILS and verdict(judged.fails * 0.9) == OPEN


def test_names_are_those_of_the_contrasts() -> None:
    assert len(set(contrasts.NAMES)) == len(contrasts.CONTRASTS) + 1
    assert not any(":" in name for name in contrasts.NAMES)
