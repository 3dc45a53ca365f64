"""A table of rows as the bytes of a Parquet file, with a digest of the whole file.

Parquet has checksums for its pages but not for its footer. There a flipped bit can rename an inner
field, whose values then read as null. So the footer's metadata contain a SHA-256 of the whole file,
computed with zeros in place of the digest.
"""

import hashlib
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from aa_ray.store.schema import DIGEST_VERSION, SCHEMA, SCHEMA_VERSION, VERSION_KEY

DIGEST_KEY = b"aa_ray.sha256"
_UNSIGNED = b"0" * 64


def dump(table: pa.Table) -> bytes:
    """The content of a Parquet file with the table."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({DIGEST_KEY: _UNSIGNED})
    content = sink.getvalue().to_pybytes()
    start, stop = _place(content)
    return content[:start] + _digest(content).encode() + content[stop:]


def load(content: bytes, columns: Sequence[str]) -> pa.Table:
    """These columns of the file's rows, with the types of ``SCHEMA``.

    Raises:
        NewerError: the file was written by a newer aa_ray.
        ValueError, KeyError, OSError, pa.ArrowException: it does not hold rows, or is damaged.
    """
    # Four times as fast as read_table, which treats the file as a dataset.
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    version = int((file.schema_arrow.metadata or {})[VERSION_KEY])
    if version > SCHEMA_VERSION:
        raise NewerError(version)
    if version >= DIGEST_VERSION or DIGEST_KEY in (file.metadata.metadata or {}):
        start, stop = _place(content)
        if content[start:stop] != _digest(content).encode():
            raise ValueError("it is damaged: its digest does not match its content")
    return _completed(file.read(columns=list(columns), use_threads=False), version, columns)


class NewerError(Exception):
    """The file has a newer version of the schema; the first argument is that version."""


def _place(content: bytes) -> tuple[int, int]:
    """Start and end of the digest in the file: after its key and the length of the value.

    Raises:
        ValueError: the file has no digest.
    """
    pattern = re.escape(DIGEST_KEY) + rb"\x18\x40([0-9a-f]{64})"  # Thrift's compact protocol
    footer = max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    match = re.compile(pattern).search(content, footer)
    if match is None:
        raise ValueError("it has no digest")
    return match.span(1)


def _digest(content: bytes) -> str:
    start, stop = _place(content)
    return hashlib.sha256(content[:start] + _UNSIGNED + content[stop:]).hexdigest()


def _completed(table: pa.Table, version: int, columns: Sequence[str]) -> pa.Table:
    """The columns with the types of ``SCHEMA``; those newer than the table's version are null."""
    schema = pa.schema([SCHEMA.field(name) for name in columns], SCHEMA.metadata)
    for field in schema:
        if field.name not in table.column_names and version < SCHEMA_VERSION:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    return table.select(columns).cast(schema)
