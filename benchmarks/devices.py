"""Do trials end alike on two devices? Compares rows of the same trials from two results folders.

Devices draw different dropout from the same seed, so scores differ. Over several seeds, a device
that trains wrongly shows in the training loss and the score.

    python -m benchmarks.devices --results DIR --against DIR > benchmarks/devices.md
"""

import argparse
import json
from datetime import date
from typing import Any

import numpy as np
from scipy import stats

from aa_ray.store import provenance
from aa_ray.store.rows import Store
from aa_ray.store.schema import Row

LAST_EPOCHS = 3
COLUMNS = (
    "trial_id",
    "status",
    "method",
    "task",
    "regime",
    "seed",
    "device",
    "test_metric",
    "curves",
    "settings",
)


def finished(uri: str) -> dict[str, Row]:
    """Return trial id -> row of every finished trial."""
    rows: list[Any] = Store(uri).read().select(COLUMNS).to_pylist()
    return {row["trial_id"]: row for row in rows if row["status"] == "finished"}


def last_loss(row: Row) -> float:
    """Return the mean training loss of the last epochs."""
    return float(np.mean([epoch["train_loss"] for epoch in row["curves"][-LAST_EPOCHS:]]))


def difference(one: list[float], other: list[float], digits: int) -> str:
    """Format the mean paired difference with its 95 % interval."""
    pairs = np.subtract(one, other)
    low, high = stats.t.interval(0.95, len(pairs) - 1, pairs.mean(), stats.sem(pairs))
    return f"{pairs.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def compared(one: dict[str, Row], other: dict[str, Row]) -> dict[tuple[str, ...], list[str]]:
    """Return the ids of trials with a row of each device, by what the table's rows are for."""
    cells: dict[tuple[str, ...], list[str]] = {}
    for trial_id in sorted(one.keys() & other.keys()):
        row = one[trial_id]
        if row["device"] != other[trial_id]["device"]:
            rate = f"{json.loads(row['settings'])['learning_rate']:g}"
            key = row["method"], rate, row["task"], row["regime"]
            cells.setdefault(key, []).append(trial_id)
    return cells


def report(results: str, against: str) -> None:
    """Print the page."""
    one, other = finished(results), finished(against)
    cells = compared(one, other)
    ids = [trial_id for of_cell in cells.values() for trial_id in of_cell]
    devices = [" and ".join(sorted({rows[i]["device"] for i in ids})) for rows in (one, other)]
    commit, dirty = provenance.commit()
    print("# The same trials on two devices\n")
    print(f"    python -m benchmarks.devices --results {results} --against {against}\n")
    print(f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}. {devices[0]} minus")
    print(
        f"{devices[1]}, paired by seed, with 95 % intervals. Scores are x 100; the loss is the mean"
    )
    print(f"training loss of the last {LAST_EPOCHS} epochs.\n")
    print("| method | rate | task | examples | seeds | score | difference | loss | difference |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for cell, of_cell in sorted(cells.items()):
        print(f"| {' | '.join([*cell, *numbers(one, other, of_cell)])} |")


def numbers(one: dict[str, Row], other: dict[str, Row], ids: list[str]) -> list[str]:
    """Return the numbers in a row of the table."""
    scores, scores_there = ([100 * rows[i]["test_metric"] for i in ids] for rows in (one, other))
    losses, losses_there = ([last_loss(rows[i]) for i in ids] for rows in (one, other))
    return [
        str(len(ids)), f"{np.mean(scores):.1f}", difference(scores, scores_there, 1),
        f"{np.mean(losses):.3f}", difference(losses, losses_there, 3),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", required=True, help="rows of the first device")
    parser.add_argument("--against", required=True, help="rows of the second device")
    options = parser.parse_args()
    report(options.results, options.against)


if __name__ == "__main__":
    main()
