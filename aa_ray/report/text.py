"""How metrics, lists and commits are written, in tables, on pages and in a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

METRIC_TITLES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews correlation",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
}


def listed(values: Iterable[object], separator: str = ", ", none: str = "none") -> str:
    """The values in their order, or ``none`` where there are none."""
    return separator.join(map(str, values)) or none


def commit_text(row: Mapping[str, Any]) -> str:
    """The row's commit, short, and whether the checkout had changes."""
    return (row["commit"] or "unknown")[:10] + ("+changes" if row["dirty"] else "")
