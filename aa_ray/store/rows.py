"""The Parquet files that hold the rows of a study; ``schema`` describes a row.

A results folder holds one file per finished trial, ``rows/<trial_id>.parquet``, and after
``Store.compact`` files of many trials under ``compacted/``. A failure goes to a separate file,
``rows/<trial_id>.failed.parquet``. So the file of a finished trial is only ever created, never
replaced: if several processes finish a trial, the first one counts. (Up to schema 5, failures went
to ``rows/<trial_id>.parquet`` too.) A file appears complete or not at all. A file that cannot be
read is reported and moved to ``set-aside/``, and its trials are run again.
"""

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from aa_ray.errors import StorageError, UsageError
from aa_ray.store import parquet
from aa_ray.store.schema import SCHEMA, SCHEMA_VERSION, Row
from aa_ray.store.storage import Folder, reason

# Maximum number of trials per file under compacted/.
COMPACTED_TRIALS = 2_000

# Number of files read concurrently from an object store, whose requests are slow. Local files are
# read one by one, since threads gain nothing there because of Python's lock.
READERS = 16

# Tables are combined whenever this many files have been read: on its own, a table takes a quarter
# of a megabyte, even if it has a single row.
MANY = 100

FAILED = ".failed"

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
        self._compacted_ids: dict[str, pa.Array] = {}  # see _compacted

    @property
    def uri(self) -> str:
        return self.folder.uri

    def write(self, rows: list[Row]) -> list[Row]:
        """Write all rows of one trial, atomically, unless the trial has already finished.

        Rows of a failed trial are replaced. Finished rows never are, since results derived from
        them would become wrong.

        Returns:
            The trial's rows from now on: these, or its existing finished rows.

        Raises:
            StorageError: disk full, read-only, no permission.
        """
        trial_id = rows[0]["trial_id"]
        content = parquet.dump(pa.Table.from_pylist(rows, schema=SCHEMA))
        existing = self.rows(trial_id)
        if _finished(existing):
            return existing
        if existing:
            self._put_failure_by(trial_id)
        if not _finished(rows):
            self.folder.write(_path(trial_id, FAILED), content)
            existing = self.rows(trial_id)
            if not _finished(existing):
                return rows
            self.folder.delete(_path(trial_id, FAILED))  # another process finished meanwhile
            return existing
        if self.folder.write_once(_path(trial_id), content):
            # Another process may have finished it, and compacted its file, since the first look.
            compacted = self._rows_compacted(trial_id)
            self.folder.delete(_path(trial_id, "" if compacted else FAILED))
            return compacted or rows
        existing = self.rows(trial_id)  # another process was faster
        if not _finished(existing):  # the existing file does not hold rows
            self.folder.write(_path(trial_id), content)
            return rows
        return existing

    def _put_failure_by(self, trial_id: str) -> None:
        """Move a failure that an older version wrote where finished rows go.

        If another process has finished the trial meanwhile, its rows are moved, but are still read.
        """
        table = self._read_file(_path(trial_id))
        if table is not None and "failed" in table["status"].to_pylist():
            with suppress(FileNotFoundError):  # another process was faster
                self.folder.move(_path(trial_id), _path(trial_id, FAILED))

    def row(self, trial_id: str) -> Row | None:
        """One of the trial's rows; None if it has no readable one."""
        return next(iter(self.rows(trial_id)), None)

    def rows(self, trial_id: str) -> list[Row]:
        """The trial's rows: AdapterDrop has several per training run; empty if none can be read.

        Raises:
            StorageError: the file system fails to read a file.
        """
        if "/" in trial_id:  # ids also come from rows, and must not lead to another folder
            return []
        # In this order: a file that is being compacted meanwhile is in one of the two.
        loose = self._rows_in(_path(trial_id))
        compacted = self._rows_compacted(trial_id)
        if compacted:  # so it was there first
            return compacted
        if _finished(loose):
            return loose
        failed = self._rows_in(_path(trial_id, FAILED))
        return failed if _finished(failed) else failed or loose

    def _rows_in(self, path: str) -> list[Row]:
        table = self._read_file(path)
        return [] if table is None else list(table.to_pylist())

    def _rows_compacted(self, trial_id: str) -> list[Row]:
        for path, ids in self._compacted().items():
            has_it = pc.index(ids, trial_id).as_py() >= 0
            if has_it and (table := self._read_file(path)) is not None:
                return list(table.filter(pc.equal(table["trial_id"], trial_id)).to_pylist())
        return []

    def tidy(self, finished: set[str]) -> None:
        """Remove the failures of trials that have finished later.

        Raises:
            StorageError: the results folder cannot be used.
        """
        for path in list(self._paths()):
            if path == _path(trial_id := _trial_id(path), FAILED) and trial_id in finished:
                rows = self._rows_in(path)
                if rows and not _finished(rows):
                    self.folder.delete(path)

    def trial_ids(self) -> set[str]:
        """Ids of the trials that have rows."""
        return {_trial_id(path) for path in self._paths()} | self._compacted_trials()

    def read(self, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
        """All rows as one table with these columns of ``SCHEMA``; it may be empty.

        Raises:
            UsageError: a file was written by a newer aa_ray.
            StorageError: the file system fails to read a file.
        """
        needed = list(dict.fromkeys([*columns, "trial_id", "status"]))
        # In this order: a file that is being compacted meanwhile is in one of the two.
        loose = self._combined("rows", needed)
        compacted = self._combined("compacted", needed)
        failed = pc.equal(loose["status"], "failed")
        # Compacted rows were there first, and a failure only counts without finished rows.
        tables = (compacted, loose.filter(pc.invert(failed)), loose.filter(failed))
        return pa.concat_tables([table.select(columns) for table in _first(tables)])

    def _combined(self, folder: str, columns: Sequence[str]) -> pa.Table:
        """The rows of a folder's files; if a trial is in two files, from the first."""
        tables = self._tables(list(self._paths(folder)), columns)
        return _concatenated(_first(tables) if folder == "compacted" else tables, columns)

    def _tables(
        self, paths: Sequence[str], columns: Sequence[str] = SCHEMA.names
    ) -> Iterator[pa.Table]:
        """The readable files among these, in order."""
        with ThreadPoolExecutor(self._readers) as pool:
            for start in range(0, len(paths), MANY):
                batch = paths[start:][:MANY]
                for table in pool.map(lambda path: self._read_file(path, columns), batch):
                    if table is not None:
                        yield table

    def compact(self) -> int:
        """Merge the files of single finished trials into a few; returns the number of trials.

        Finished rows never change, so drivers may keep running meanwhile. Failed trials keep their
        files, since a retry replaces them.
        """
        moved = 0
        paths = [path for path in self._paths() if path == _path(_trial_id(path))]
        for start in range(0, len(paths), COMPACTED_TRIALS):
            rows = _concatenated(self._tables(paths[start:][:COMPACTED_TRIALS]))
            failed = rows.filter(pc.equal(rows["status"], "failed"))["trial_id"]
            finished = set(rows["trial_id"].to_pylist()).difference(failed.to_pylist())
            # A trial that was compacted before, but whose file was left behind, stays as it was.
            if new := sorted(finished - self._compacted_trials()):
                name = hashlib.sha256(" ".join(map(_path, new)).encode()).hexdigest()[:20]
                rows = rows.filter(pc.is_in(rows["trial_id"], pa.array(new)))
                self.folder.write(f"compacted/{name}.parquet", parquet.dump(rows))
            for trial_id in sorted(finished):
                self.folder.delete(_path(trial_id))
            moved += len(finished)
        return moved

    def _paths(self, folder: str = "rows") -> Iterator[str]:
        """The files of a folder; it is listed only when the first one is requested."""
        for name in self.folder.names(folder):
            if name.endswith(".parquet"):
                yield f"{folder}/{name}"

    def _compacted_trials(self) -> set[str]:
        return set().union(*(ids.to_pylist() for ids in self._compacted().values()))

    def _compacted(self) -> dict[str, pa.Array]:
        """Compacted file -> ids of its trials. Such files never change, so each is read once.

        Every process of a study holds all these ids, and an array takes a fifth of a set's memory.
        """
        known, self._compacted_ids = self._compacted_ids, {}
        for path in self._paths("compacted"):
            if path in known:
                self._compacted_ids[path] = known[path]
            elif (table := self._read_file(path, ["trial_id"])) is not None:
                self._compacted_ids[path] = pc.unique(table["trial_id"])
        return self._compacted_ids

    def _read_file(self, path: str, columns: Sequence[str] = SCHEMA.names) -> pa.Table | None:
        """These columns of the file's rows, which include ``trial_id``.

        If the file does not hold rows, it is set aside and None is returned.
        """
        try:
            content = self.folder.read(path)
        except FileNotFoundError:  # another driver has just moved it, or it was compacted
            return None
        try:
            table = parquet.load(content, columns)
            ids = set(table["trial_id"].to_pylist())
            if not ids or (path.startswith("rows/") and ids != {_trial_id(path)}):
                raise ValueError("its rows are of another trial")
            return table
        except parquet.NewerError as newer:
            raise UsageError(
                f"{self.uri}/{path} was written by a newer aa_ray (schema {newer}, this one knows "
                f"{SCHEMA_VERSION}); update aa_ray or use another --results"
            ) from newer
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            self._set_aside(path, error)
            return None

    def _set_aside(self, path: str, error: Exception) -> None:
        what = f"{self.uri}/{path} does not hold rows of aa_ray ({reason(error)})"
        try:
            self.folder.move(path, f"set-aside/{path.rpartition('/')[2]}")
        except FileNotFoundError:
            return  # another process was faster
        except StorageError as denied:
            logger.warning("%s; it is ignored (%s)", what, denied)
        else:
            logger.warning("%s; moved to set-aside/; its trials will run again", what)


def _concatenated(tables: Iterable[pa.Table], columns: Sequence[str] = SCHEMA.names) -> pa.Table:
    """All rows of these tables, which have these columns."""
    tables = iter(tables)
    combined = [SCHEMA.empty_table().select(columns)]
    while batch := list(itertools.islice(tables, MANY)):
        combined.append(pa.concat_tables(batch).combine_chunks())
    return pa.concat_tables(combined)


def _first(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, each without the trials of those before it."""
    seen: set[str] = set()
    for table in tables:
        ids = table["trial_id"].to_pylist()
        if not seen.isdisjoint(ids):
            table = table.filter(pa.array([i not in seen for i in ids]))
        seen.update(ids)
        yield table


def _path(trial_id: str, kind: str = "") -> str:
    return f"rows/{trial_id}{kind}.parquet"


def _trial_id(path: str) -> str:
    return path.removeprefix("rows/").removesuffix(".parquet").removesuffix(FAILED)


def _finished(rows: Sequence[Row]) -> bool:
    return bool(rows) and rows[0]["status"] == "finished"


def read(uri: str) -> pa.Table:
    """All rows of the results folder at ``uri`` as one Arrow table; see ``COLUMNS``."""
    return Store(uri).read()
