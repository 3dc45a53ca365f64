"""The Parquet files that hold the rows of a study. ``schema`` says what is in a row.

A results folder holds one file per finished trial, ``rows/<trial_id>.parquet``, and after
``Store.compact`` files of many trials under ``compacted/``. A file appears whole or not at all. One
that cannot be read is named and moved to ``set-aside/``; its trials are run again.
"""

import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aa_ray.errors import StorageError, UsageError
from aa_ray.store.schema import SCHEMA, SCHEMA_VERSION, VERSION_KEY, Row
from aa_ray.store.storage import Folder, reason

# Trials of one file under compacted/, at most: a few hundred megabytes of memory.
COMPACTED_TRIALS = 2_000

# Files read at the same time from an object store, which takes its time for each. Local files are
# read one by one: Python's lock lets threads gain nothing there.
READERS = 16

# After so many files their tables are combined, which takes much less memory.
MANY = 1_000

logger = logging.getLogger(__name__)


class Store:
    """The rows under one results folder.

    Args:
        folder: the results folder, or its path or URI.

    Raises:
        UsageError: see ``Folder``.
    """

    def __init__(self, folder: Folder | str) -> None:
        self.folder = Folder(folder) if isinstance(folder, str) else folder
        self._readers = 1 if self.folder.local else READERS
        self._compacted_ids: dict[str, set[str]] = {}  # see _compacted

    @property
    def uri(self) -> str:
        return self.folder.uri

    def write(self, rows: list[Row]) -> list[Row]:
        """Write all rows of one trial, atomically, unless the trial has finished already.

        Rows of a failed trial are replaced, finished rows never: what was derived from them would
        no longer hold.

        Returns:
            The trial's rows from now on: these, or its finished rows where it had some.

        Raises:
            StorageError: disk full, read-only, no permission.
        """
        trial_id = rows[0]["trial_id"]
        content = _parquet(pa.Table.from_pylist(rows, schema=SCHEMA))
        existing = self.rows(trial_id)
        if not existing and self.folder.write_once(_path(trial_id), content):
            return rows
        existing = existing or self.rows(trial_id)  # another process was faster
        if existing and existing[0]["status"] == "finished":
            return existing
        self.folder.write(_path(trial_id), content)
        return rows

    def row(self, trial_id: str) -> Row | None:
        """One of the trial's rows; None where it has none that can be read."""
        return next(iter(self.rows(trial_id)), None)

    def rows(self, trial_id: str) -> list[Row]:
        """The trial's rows: several of one AdapterDrop training; none where none can be read."""
        table = None
        if self.folder.exists(_path(trial_id)):
            table = self._read_file(_path(trial_id))
        for path, ids in self._compacted().items() if table is None else ():
            if trial_id in ids and (compacted := self._read_file(path)) is not None:
                table = compacted.filter(pc.equal(compacted["trial_id"], trial_id))
                break
        return list(table.to_pylist()) if table is not None else []

    def trial_ids(self) -> set[str]:
        """The trials that have rows."""
        loose = {path.removeprefix("rows/").removesuffix(".parquet") for path in self._paths()}
        return loose.union(*self._compacted().values())

    def read(self, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
        """All rows as one table with those columns of ``SCHEMA``; no rows where there are none.

        Raises:
            UsageError: a file was written by a newer aa_ray.
            StorageError: the file system does not give a file.
        """
        combined: list[pa.Table] = []
        tables = [SCHEMA.empty_table().select(columns)]
        seen: set[str] = set()
        # In this order: a file that is being compacted meanwhile is in one of the two. The file of
        # a single trial is the newer one.
        for table in itertools.chain(self._tables("rows"), self._tables("compacted")):
            ids = table["trial_id"].to_pylist()
            if not seen.isdisjoint(ids):
                table = table.filter(pa.array([i not in seen for i in ids]))
            seen.update(ids)
            tables.append(table.select(columns))
            if len(tables) == MANY:
                combined.append(pa.concat_tables(tables).combine_chunks())
                tables = []
        return pa.concat_tables([*combined, *tables])

    def _tables(self, folder: str) -> Iterator[pa.Table]:
        """The readable files of a folder, in order."""
        paths = list(self._paths(folder))
        with ThreadPoolExecutor(self._readers) as pool:
            for start in range(0, len(paths), MANY):
                for table in pool.map(self._read_file, paths[start:][:MANY]):
                    if table is not None:
                        yield table

    def compact(self) -> int:
        """Put the files of single finished trials together into few; the number of trials.

        Finished rows never change, so drivers may be at work meanwhile. Failed trials keep their
        files, which a retry replaces.
        """
        moved = 0
        paths = list(self._paths())
        for start in range(0, len(paths), COMPACTED_TRIALS):
            batch = paths[start:][:COMPACTED_TRIALS]
            with ThreadPoolExecutor(self._readers) as pool:
                tables = zip(batch, pool.map(self._read_file, batch), strict=True)
                finished = {
                    path: table
                    for path, table in tables
                    if table is not None and "failed" not in table["status"].to_pylist()
                }
            if finished:
                name = hashlib.sha256(" ".join(sorted(finished)).encode()).hexdigest()[:20]
                table = pa.concat_tables(finished.values())
                self.folder.write(f"compacted/{name}.parquet", _parquet(table))
                for path in finished:
                    self.folder.delete(path)
            moved += len(finished)
        return moved

    def _paths(self, folder: str = "rows") -> Iterator[str]:
        """The files of a folder, which is listed when the first is asked for."""
        for name in self.folder.names(folder):
            if name.endswith(".parquet"):
                yield f"{folder}/{name}"

    def _compacted(self) -> dict[str, set[str]]:
        """Compacted file -> ids of its trials. Such files never change, so each is read once."""
        for path in self._paths("compacted"):
            if path not in self._compacted_ids:
                table = self._read_file(path, ["trial_id"])
                if table is not None:
                    self._compacted_ids[path] = set(table["trial_id"].to_pylist())
        return self._compacted_ids

    def _read_file(self, path: str, columns: Sequence[str] = SCHEMA.names) -> pa.Table | None:
        """Those columns of the file's rows, ``trial_id`` among them.

        None, having set the file aside, where it does not hold rows.
        """
        try:  # what goes wrong in here is the file system's fault, and says nothing of the file
            content = pa.BufferReader(self.folder.read(path))
        except FileNotFoundError:  # another driver has just moved it, or it was compacted
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.uri}/{path} ({reason(error)})") from error
        try:
            # Four times as fast as read_table, which takes the file for a dataset.
            parquet = pq.ParquetFile(content, page_checksum_verification=True)
            table = parquet.read(columns=list(columns), use_threads=False)
            version = int((table.schema.metadata or {})[VERSION_KEY])
            if version <= SCHEMA_VERSION:
                table = _completed(table, version, columns)
                ids = set(table["trial_id"].to_pylist())
                if not ids or (path.startswith("rows/") and {_path(i) for i in ids} != {path}):
                    raise ValueError("its rows are of another trial")
                return table
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            self._set_aside(path, error)
            return None
        raise UsageError(
            f"{self.uri}/{path} was written by a newer aa_ray (schema {version}, this one "
            f"knows {SCHEMA_VERSION}); update aa_ray or use another --results"
        )

    def _set_aside(self, path: str, error: Exception) -> None:
        what = f"{self.uri}/{path} does not hold rows of aa_ray ({reason(error)})"
        try:
            self.folder.move(path, f"set-aside/{path.rpartition('/')[2]}")
        except OSError as denied:
            logger.warning("%s; it is left out (cannot be moved: %s)", what, reason(denied))
        else:
            logger.warning("%s; moved to set-aside/, what is lost has to run again", what)


def _parquet(table: pa.Table) -> pa.Buffer:
    """The table as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue()


def _path(trial_id: str) -> str:
    return f"rows/{trial_id}.parquet"


def _completed(table: pa.Table, version: int, columns: Sequence[str]) -> pa.Table:
    """The columns as ``SCHEMA`` has them; those newer than the table's version are null."""
    schema = pa.schema([SCHEMA.field(name) for name in columns], SCHEMA.metadata)
    for field in schema:
        if field.name not in table.column_names and version < SCHEMA_VERSION:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    return table.select(columns).cast(schema)


def read(uri: str) -> pa.Table:
    """All rows of the results folder at ``uri`` as one Arrow table; see ``COLUMNS``."""
    return Store(uri).read()
