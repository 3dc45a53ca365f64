"""Text for metrics, lists and commits, in tables, on pages and in a terminal."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

METRIC_TITLES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews correlation",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
}


def listed(values: Iterable[object], separator: str = ", ", none: str = "none") -> str:
    """The values in order, or ``none`` if there are no values."""
    return separator.join(map(str, values)) or none


def seeds_text(seeds: Sequence[int]) -> str:
    """The seeds; three or more in a row as a range, such as 100-119."""
    parts: list[str] = []
    for _, group in itertools.groupby(enumerate(seeds), lambda pair: pair[1] - pair[0]):
        run = [seed for _, seed in group]
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run)
    return listed(parts)


def commit_text(row: Mapping[str, Any]) -> str:
    """The row's short commit, and whether the checkout had changes."""
    return (row["commit"] or "unknown")[:10] + ("+changes" if row["dirty"] else "")
