"""aa_ray.report.against: the differences between two sets of rows, and their size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aa_ray.report import against
from aa_ray.report.results import Results
from aa_ray.report.tables import Table
from tests.report.test_interaction import policy
from tests.report.test_page import START, make_results

ROUNDS = st.lists(st.floats(0, 100), min_size=2, max_size=9)


def lines(table: Table) -> dict[str, list[str]]:
    return {label: [e.text for e in entries] for s in table.sections for label, entries in s.lines}


def bold(table: Table) -> set[str]:
    return {label for s in table.sections for label, entries in s.lines
            if any(e.best for e in entries)}  # fmt: skip


def finished(results: Results) -> Results:
    """Set the time at which each row was written, which tells runs apart."""
    for row in results.used:
        row["finished_at"] = START
    return results


def test_a_method_that_became_better_is_told_from_the_others() -> None:
    here, there = finished(policy(0.05, 1)), finished(policy(0.0, 2))
    table = against.scores_table(here, there, "OTHER")
    found = lines(table)
    assert bold(table) == {"AA"}
    for entry in found["AA"]:
        assert float(entry.split(" ")[0]) == pytest.approx(5, abs=1)
    assert "Test score x 100 here minus that of OTHER" in table.caption


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    here, there = finished(policy(0.05, 1)), finished(policy(0.02, 2))
    table = against.scores_table(here, there, "OTHER")
    aa = next(line for line in here.lines() if line.method == "aa")
    ours, theirs = (r.runs(aa, "100")[here.study.tasks[0]] for r in (here, there))
    differences = [ours[seed].score - theirs[seed].score for seed in ours]
    low, high = stats.t.interval(0.95, len(differences) - 1, np.mean(differences),
                                 stats.sem(differences))  # fmt: skip
    assert lines(table)["AA"][0] == f"{np.mean(differences):+.1f} ({low:+.1f} to {high:+.1f})"


def test_other_seeds_are_compared_without_pairs() -> None:
    here = finished(policy(0.05, 1, seeds=(42, 92, 111)))
    there = finished(policy(0.02, 2, seeds=(1, 2, 3, 4)))
    entry = lines(against.scores_table(here, there, "OTHER"))["AA"][0]
    aa = next(line for line in here.lines() if line.method == "aa")
    task = here.study.tasks[0]
    values = [[run.score for run in r.runs(aa, "100")[task].values()] for r in (here, there)]
    expected = stats.ttest_ind(*values, equal_var=False).confidence_interval(0.95)
    mean = np.mean(values[0]) - np.mean(values[1])
    assert entry == f"{mean:+.1f} ({expected.low:+.1f} to {expected.high:+.1f})"


@given(ROUNDS, ROUNDS)
def test_welch_is_scipys(first: list[float], second: list[float]) -> None:
    found = against.welch(first, second)
    if min(np.std(first), np.std(second)) < 1e-6:  # scipy warns about these
        return
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert found.freedom == pytest.approx(expected.df)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_the_same_rows_are_the_same_runs() -> None:
    results = make_results()
    found = lines(against.scores_table(results, make_results(), "OTHER"))
    assert {entry for entries in found.values() for entry in entries} == {against.SAME}
    assert against.differences(results, make_results()) == []
    table = against.verdicts_table(results, results, "OTHER")
    assert table.sections[0].lines and not bold(table)


def test_changed_verdicts_are_bold() -> None:
    here, there = policy(0.05, 1), policy(0.0, 2)
    table = against.verdicts_table(here, there, "OTHER")
    found = lines(table)
    assert "C8 AA beats Switch-only" in bold(table)
    assert found["C8 AA beats Switch-only"][0] == "holds"
    assert found["C8 AA beats Switch-only"][2] != "holds"
    assert not any(label.startswith("C3") for label in found)  # neither side has full data


def test_what_explains_a_change_is_listed() -> None:
    here, there = make_results(), make_results()
    for row in there.used:
        row |= {"commit": "f" * 40, "versions": '{"torch": "2.14.0"}', "host": "another"}
    assert against.differences(here, there) == [
        ("code", "commit 0123456789", "commit ffffffffff"), ("torch", "2.13.0", "2.14.0"),
    ]  # fmt: skip
