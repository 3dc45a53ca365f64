"""A seed's invariant: its study ends as if undisturbed."""

from typing import Any

from aa_ray.store.schema import Row
from tests.simulator.plan import make_study
from tests.simulator.simulation import Simulation
from tests.simulator.world import Violation, World

# Columns that describe an attempt, not its result.
OF_THE_ATTEMPT = {"method", "started_at", "finished_at", "host", "hosts", "resumed_after", "array",
                  "peak_memory_bytes", "device_memory_bytes", "too_many_trials"}  # fmt: skip


def result(row: Row) -> dict[str, Any]:
    """Return the columns of a row that must not depend on faults."""
    return {name: value for name, value in row.items() if name not in OF_THE_ATTEMPT}


def check(seed: int) -> World:
    """Run the seed's study undisturbed and disturbed; return the disturbed run's world.

    Raises:
        Violation: an invariant does not hold.
    """
    undisturbed = expected(seed)
    simulation = Simulation(seed)
    try:
        final = simulation.run()
        if [row["trial_id"] for row in final] != [row["trial_id"] for row in undisturbed]:
            raise Violation("there is not exactly one row of every trial")
        for row, other in zip(final, undisturbed, strict=True):
            if result(row) != result(other):
                raise Violation(f"the row of {row['trial_id']} is not that of an undisturbed run")
    except Violation as violation:
        violation.args = (*violation.args, simulation.world)
        raise
    return simulation.world


_by_study: dict[str, list[Row]] = {}


def expected(seed: int) -> list[Row]:
    """Return the rows of the seed's undisturbed study."""
    study = repr(make_study(seed))
    if study not in _by_study:
        _by_study[study] = Simulation(seed, undisturbed=True).run()
    return _by_study[study]
