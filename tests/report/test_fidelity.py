"""aa_ray.report.fidelity on synthetic rows with a known effect of each difference."""

from typing import Any

import pytest

from aa_ray.core.architectures import FIDELITY
from aa_ray.core.deviations import DEVIATIONS
from aa_ray.errors import UsageError
from aa_ray.report import fidelity, step_size
from aa_ray.report.results import Results
from aa_ray.report.tables import Entry, Table
from aa_ray.study.grid import PLAIN, Variant
from aa_ray.study.resolve import Resolver
from tests.report.test_paper_tables import made_up
from tests.study.test_grid import make_study


def table(changes: dict[str, float]) -> Table:
    """Return the table of rows with scores of 0.5, changed in some variants."""
    plain = make_study(methods=FIDELITY, seeds=(42, 92, 111))
    study = fidelity.with_variants(plain)
    rows = made_up(study)
    variants: dict[str, str] = {}
    for cell, trial in Resolver(study, rows).trials.items():
        variants.setdefault(trial.id, cell.variant)  # PLAIN comes first
    for i, row in enumerate(rows):
        noise = 0.001 * (i % 3)
        row["test_metric"] = 0.5 + changes.get(variants[row["trial_id"]], 0.0) + noise
    return fidelity.table(Results(study, rows))


def section(found: Table, start: str) -> dict[str, list[Entry]]:
    [lines] = [s.lines for s in found.sections if s.heading.startswith(start)]
    return dict(lines)


def test_every_difference_that_acts_has_a_section_that_says_who_does_what() -> None:
    found = table({})
    keys = [d.key for d in DEVIATIONS.values() if d.key != "D9"]  # no selection is empty
    assert [s.heading.split()[0] for s in found.sections] == keys
    assert found.caption.endswith("No method here is affected by D9.")
    heading = found.sections[2].heading
    assert "denominator=B" in heading and "(paper: B, released code: A, here: A)" in heading


def test_a_known_change_is_found_where_it_acts() -> None:
    found = section(table({"restored_switches=last": -0.03}), "D6")
    assert set(found) == {"AA"}  # focused trials agree because the synthetic selections do
    change, interval, pairs, p, here = found["AA"]
    assert p.text == "<0.001"
    assert change.mean == pytest.approx(-3.0, abs=0.2)
    assert interval.text.startswith("-3.") or interval.text.startswith("-2.")
    assert pairs.mean == 2 * 3 and here.mean == pytest.approx(50.1, abs=0.2)


def test_differences_are_listed_only_for_methods_on_which_they_act() -> None:
    found = table({})
    assert set(section(found, "D3")) == {"AA", "AA-focused^spec", "AA-focused^sim"}
    assert set(section(found, "D5")) == {"AdapterDrop^AA", "AdapterDrop^1"}


def test_without_rows_there_are_dashes() -> None:
    study = fidelity.with_variants(make_study(methods=FIDELITY))
    found: Any = fidelity.table(Results(study, []))
    assert "–" in found.render("text", all_columns=True)
    assert study.variants[0] == Variant(PLAIN)


def test_settings_chosen_by_hand_are_refused_not_dropped() -> None:
    study = make_study(variants=(Variant(PLAIN, (("denominator", "B"),)),))
    for adapt in (fidelity.with_variants, step_size.with_ladder):
        with pytest.raises(UsageError, match="--set: this study varies the settings itself"):
            adapt(study)


def test_p_values_are_adjusted_for_the_lines_of_the_table() -> None:
    changes = {"restored_switches=last": -0.03, "denominator=B": 0.0005}
    found = [line for s in table(changes).sections for _, line in s.lines]
    tested = [line[3].mean for line in found if line[3].mean is not None]
    assert len(tested) > 5 and all(0 <= p <= 1 for p in tested)
    assert tested.count(1.0) > 1  # Holm's method multiplies by the number of lines
