"""aa_ray.store.schema: the typed row and the Parquet schema have the same columns."""

import types
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pyarrow as pa
import pytest

from aa_ray.store import schema
from aa_ray.store.schema import COLUMNS, SCHEMA, Row, make_row
from aa_ray.trial import TrialColumns

PARTS = [
    TrialColumns,
    *(
        part
        for name, part in vars(schema).items()
        if name.endswith("Columns") and part.__module__ == schema.__name__
    ),
]


def test_every_column_is_documented() -> None:
    assert all(len(text) > 10 for _, _, text in COLUMNS)
    assert SCHEMA.field("seed").metadata[b"description"]


def test_every_column_belongs_to_one_part() -> None:
    names = [name for part in PARTS for name in part.__annotations__]
    assert len(names) == len(set(names))
    assert set(names) == set(SCHEMA.names) == set(Row.__annotations__)


def fits(annotation: Any, kind: pa.DataType) -> bool:
    """Return whether Arrow returns its type as values of the Python type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (types.UnionType, Union):
        [annotation] = [argument for argument in arguments if argument is not type(None)]
        return fits(annotation, kind)
    if origin is list:
        return pa.types.is_list(kind) and fits(arguments[0], kind.value_type)
    if origin is Mapping:
        return pa.types.is_struct(kind) and all(fits(arguments[1], f.type) for f in kind)
    if is_typeddict(annotation):
        hints = get_type_hints(annotation)
        return hints.keys() == {f.name for f in kind} and all(
            fits(hints[f.name], f.type) for f in kind
        )
    tests = {
        str: pa.types.is_string,
        bool: pa.types.is_boolean,
        int: pa.types.is_integer,
        float: pa.types.is_floating,
        datetime: pa.types.is_timestamp,
    }
    return bool(tests[annotation](kind))


@pytest.mark.parametrize("column", SCHEMA.names)
def test_types_agree_with_the_schema(column: str) -> None:
    assert fits(get_type_hints(Row)[column], SCHEMA.field(column).type)


def test_types_that_differ_are_seen() -> None:
    assert not fits(int, pa.float64()) and not fits(list[str], pa.list_(pa.int32()))
    assert not fits(schema.CurvePoint, pa.struct([("epoch", pa.int32())]))


def test_a_row_has_every_column() -> None:
    row = make_row({"trial_id": "a"}, schema.failed("broken"))
    assert list(row) == SCHEMA.names
    assert {name for name, value in row.items() if value is not None} == {
        "trial_id", "status", "error"}  # fmt: skip
    [read] = pa.Table.from_pylist([row], schema=SCHEMA).to_pylist()
    assert read == row
