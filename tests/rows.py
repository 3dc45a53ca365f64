"""Rows for tests: a test sets the columns it needs, and the others are null."""

from typing import Any

from aa_ray.store.schema import SCHEMA, Row, make_row


def row(trial_id: str, **columns: Any) -> Row:
    """Return a finished row, unless the columns say otherwise."""
    assert columns.keys() <= set(SCHEMA.names), columns
    return make_row({"trial_id": trial_id, "status": "finished"}, columns)
