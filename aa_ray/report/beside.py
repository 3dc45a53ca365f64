"""What other studies have rows of the same kind: a report shows them beside its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from aa_ray.report.results import Results

# A ladder has more steps than the two policies, whose trials are steps of it.
FEWEST_RATES = 3
FEWEST_VARIANTS = 2


@dataclass(frozen=True)
class Beside:
    """Results that may be there; what has no rows of its own is left out.

    Attributes:
        policies: the rates' name -> the methods of the tables and of ``controls.py`` under them;
            the released ones first, then those of the report.
        ladder: of ``step_size.py``.
        fidelity: of ``fidelity.py``.
        against: what the report is compared with: its name, and its results.
    """

    policies: Mapping[str, Results] = field(default_factory=dict)
    ladder: Results | None = None
    fidelity: Results | None = None
    against: tuple[str, Results] | None = None


def with_rows(
    policies: Mapping[str, Results], ladder: Results | None, fidelity: Results | None
) -> Beside:
    """Those of the results that have rows: of variants, where there are several trials."""
    return Beside(
        {name: results for name, results in policies.items() if results.used},
        None if ladder is None else varied(ladder, FEWEST_RATES),
        None if fidelity is None else varied(fidelity, FEWEST_VARIANTS),
    )


def varied(results: Results, least: int) -> Results | None:
    """The results for the tasks and regimes in which a method has that many different trials.

    None where there is no such task and regime.
    """
    trials: dict[tuple[str, str, str, int], set[str]] = {}
    for cell in results.study.grid():  # not its tuning, whose trials differ in their rates
        place = cell.method, cell.task, cell.regime, cell.seed
        trials.setdefault(place, set()).update(row["trial_id"] for row in results.finished(cell))
    cells = {place[1:3] for place, several in trials.items() if len(several) >= least}
    cells &= set(itertools.product(results.study.tasks, results.study.regimes))
    if not cells:
        return None
    return results.within((task for task, _ in cells), (regime for _, regime in cells))
