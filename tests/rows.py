"""Rows for tests: with the columns that a test is about, the others null."""

from typing import Any

from aa_ray.store.schema import SCHEMA, Row, make_row


def row(trial_id: str, **columns: Any) -> Row:
    """A finished row, unless the columns say otherwise."""
    assert columns.keys() <= set(SCHEMA.names), columns
    return make_row({"trial_id": trial_id, "status": "finished"}, columns)
