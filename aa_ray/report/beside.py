"""Further studies with rows in the same folder, which a report shows in addition to its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from aa_ray.report.results import Results

# A sweep over learning rates has at least this many steps. The trials of the two policies are steps
# of it too.
FEWEST_RATES = 3
FEWEST_VARIANTS = 2


@dataclass(frozen=True)
class Beside:
    """Results of further studies; those without rows are left out.

    Attributes:
        policies: name of the rates -> results of the methods of the tables and of ``controls.py``
            under them; the released rates first, then those of the report.
        ladder: results of ``step_size.py``, the sweep over learning rates.
        fidelity: results of ``fidelity.py``.
        against: the results to compare with, and their name.
    """

    policies: Mapping[str, Results] = field(default_factory=dict)
    ladder: Results | None = None
    fidelity: Results | None = None
    against: tuple[str, Results] | None = None


def with_rows(
    policies: Mapping[str, Results], ladder: Results | None, fidelity: Results | None
) -> Beside:
    """The results that have rows; a study of variants also needs several different trials."""
    return Beside(
        {name: results for name, results in policies.items() if results.used},
        None if ladder is None else varied(ladder, FEWEST_RATES),
        None if fidelity is None else varied(fidelity, FEWEST_VARIANTS),
    )


def varied(results: Results, least: int) -> Results | None:
    """The results for the tasks and regimes where a method has at least ``least`` different trials.

    None without such a task and regime.
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
