"""The rows of a study: their schema, and the Parquet files that hold them.

A results folder holds one file per finished trial, ``rows/<trial_id>.parquet``, and after
``Store.compact`` files of many trials under ``compacted/``. A file appears whole or not at all. One
that cannot be read is named and moved to ``set-aside/``; its trials are run again.
"""

import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aa_ray.errors import StorageError, UsageError
from aa_ray.store.storage import Folder, reason

# 2: input_histograms; 3: hosts, resumed_after, array. Columns are only ever added; in older rows
# they are null.
SCHEMA_VERSION = 3

# Trials of one file under compacted/, at most: a few hundred megabytes of memory.
COMPACTED_TRIALS = 2_000

# Files that are read at the same time from an object store, which takes its time for each. Local
# files are read one by one: Python's lock lets threads gain nothing there.
READERS = 16

# Files of one go; their tables become one, which takes much less memory.
MANY = 1_000

logger = logging.getLogger(__name__)

_VERSION_KEY = b"aa_ray.schema_version"

Row = dict[str, Any]

_LAYERS = pa.list_(pa.int32())
_PER_LAYER = pa.list_(pa.list_(pa.list_(pa.float32())))
_SCORES = pa.struct(
    [
        (name, pa.float64())
        for name in ("accuracy", "f1", "matthews_correlation", "pearson", "spearman")
    ]
)
_HISTOGRAMS = pa.list_(
    pa.struct([("low", pa.float32()), ("high", pa.float32()), ("counts", pa.list_(pa.int64()))])
)
_CURVES = pa.list_(
    pa.struct([("epoch", pa.int32()), ("train_loss", pa.float64()), ("dev_metric", pa.float64())])
)

# Column, type, what it holds. "Failed" rows have null in every column of a result.
COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("trial_id", pa.string(), "content hash of the trial's settings; the file's name"),
    ("method", pa.string(), "the method as which it was run; other methods of a study may resolve "
     "to the same trial and share the row"),
    ("task", pa.string(), "GLUE task, as in nyu-mll/glue"),
    ("regime", pa.string(), "annotated examples, training plus development: 100, 300, 500, full"),
    ("seed", pa.int64(), "seed of split, initial weights, order and dropout"),
    ("backbone", pa.string(), "frozen encoder: minilm, hub name, or folder name @ weights hash"),
    ("backbone_sha256", pa.string(), "SHA-256 of the encoder's parameters; null if failed"),
    ("data_source", pa.string(), "embedded-<version>, nyu-mll/glue@<revision>, files-<SHA-256>, "
     "or of a task of one's own own-<SHA-256> or <hub name>@<revision>-<SHA-256>"),
    ("data_fingerprint", pa.string(), "SHA-256 of the exact training, development and test "
     "examples; null if failed before they were read"),
    ("status", pa.string(), "finished or failed"),
    ("error", pa.string(), "one line, what went wrong; null if finished"),
    ("metric_name", pa.string(), "the task's deciding metric"),
    ("dev_metric", pa.float64(), "deciding metric on the development set at the best epoch"),
    ("test_metric", pa.float64(), "deciding metric on the test set, 0 to 1 (correlations -1 to 1)"),
    ("test_metrics", _SCORES, "every metric on the test set; null where the task does not have it"),
    ("adapter_layers", _LAYERS, "0-based layers whose adapters are in use at inference (behind "
     "switches: all that have one)"),
    ("selected_layers", _LAYERS, "layers whose switch picks the adapter in the test; null "
     "without switches"),
    ("final_selected_layers", _LAYERS, "the same after the last epoch; null without switches"),
    ("num_layers", pa.int32(), "transformer layers of the encoder"),
    ("trainable_parameters", pa.int64(), "trained parameters, classifier included"),
    ("adapter_parameters", pa.int64(), "parameters of the adapters in use at inference, with "
     "rationals and switches, without classifier"),
    ("epochs", pa.int32(), "epochs trained"),
    ("best_epoch", pa.int32(), "first epoch with the highest development metric, from 1"),
    ("curves", _CURVES, "per epoch from 1: mean training loss, deciding development metric"),
    ("switch_logits", _PER_LAYER, "[epochs + 1][num_layers][identity, adapter] before training and "
     "after each epoch; null without switches; an inner null where a layer has none"),
    ("numerators", _PER_LAYER, "[epochs + 1][num_layers][6] a0..a5 of the rationals, likewise"),
    ("denominators", _PER_LAYER, "[epochs + 1][num_layers][4] b1..b4 of the rationals, likewise"),
    ("input_histograms", _HISTOGRAMS, "[num_layers] what each rational saw at the best epoch, on "
     "up to 256 development examples: 64 equal bins from low to high; null without rationals, or "
     "where a layer has none"),
    ("train_seconds", pa.float64(), "wall time of training and development evaluations; rows of "
     "one AdapterDrop training, and of one array, share it"),
    ("test_seconds", pa.float64(), "wall time of the test evaluation, for an array of all of it"),
    ("peak_memory_bytes", pa.int64(), "CUDA: peak allocated in this trial; CPU: peak resident size "
     "of the worker process so far"),
    ("started_at", pa.timestamp("us", tz="UTC"), "start of the trial"),
    ("finished_at", pa.timestamp("us", tz="UTC"), "end of the trial"),
    ("host", pa.string(), "name of the machine that finished it"),
    ("hosts", pa.list_(pa.string()), "every machine that worked on it, in order, one entry per "
     "attempt"),
    ("resumed_after", pa.list_(pa.int32()), "the epochs after which an interrupted training went "
     "on, one entry per resumption; empty if it was never interrupted"),
    ("array", pa.list_(pa.string()), "the ids of the trials that trained side by side, this one "
     "included; null if it was alone"),
    ("device", pa.string(), "GPU model, or cpu with its number of threads"),
    ("commit", pa.string(), "commit of aa_ray; null outside a git checkout"),
    ("dirty", pa.bool_(), "whether that checkout had uncommitted changes; null outside one"),
    ("versions", pa.string(), "JSON object: package -> version"),
    ("settings", pa.string(), "JSON object: every field of aa_ray.trial.Trial"),
)  # fmt: skip

SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"description": text}) for name, kind, text in COLUMNS],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


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
        self._known: dict[str, set[str]] = {}  # see _compacted

    @property
    def uri(self) -> str:
        return self.folder.uri

    def write(self, rows: list[Row]) -> None:
        """Write all rows of one trial, in place of earlier ones, atomically.

        Raises:
            StorageError: disk full, read-only, no permission.
        """
        self._write(_path(rows[0]["trial_id"]), pa.Table.from_pylist(rows, schema=SCHEMA))

    def _write(self, path: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True)
        self.folder.write(path, sink.getvalue())

    def row(self, trial_id: str) -> Row | None:
        """One of the trial's rows; None where it has none that can be read."""
        return next(iter(self.rows(trial_id)), None)

    def rows(self, trial_id: str) -> list[Row]:
        """The trial's rows: several of one AdapterDrop training; none where none can be read."""
        table = None
        if self.folder.exists(_path(trial_id)):
            table = self._read_file(_path(trial_id))
        for path, ids in self._compacted().items() if table is None else ():
            if trial_id in ids and (found := self._read_file(path)) is not None:
                table = found.filter(pc.equal(found["trial_id"], trial_id))
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
        found = [SCHEMA.empty_table().select(columns)]
        parts: list[pa.Table] = []
        seen: set[str] = set()
        # In this order: a file that is being compacted meanwhile is in one of the two. The file of
        # a single trial is the newer one.
        for table in itertools.chain(self._tables("rows"), self._tables("compacted")):
            ids = table["trial_id"].to_pylist()
            if not seen.isdisjoint(ids):
                table = table.filter(pa.array([i not in seen for i in ids]))
            seen.update(ids)
            found.append(table.select(columns))
            if len(found) == MANY:
                parts.append(pa.concat_tables(found).combine_chunks())
                found = []
        return pa.concat_tables([*parts, *found])

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
            several = paths[start:][:COMPACTED_TRIALS]
            with ThreadPoolExecutor(self._readers) as pool:
                tables = zip(several, pool.map(self._read_file, several), strict=True)
                finished = {
                    path: table
                    for path, table in tables
                    if table is not None and "failed" not in table["status"].to_pylist()
                }
            if finished:
                name = hashlib.sha256(" ".join(sorted(finished)).encode()).hexdigest()[:20]
                self._write(f"compacted/{name}.parquet", pa.concat_tables(finished.values()))
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
            if path not in self._known:
                table = self._read_file(path)
                if table is not None:
                    self._known[path] = set(table["trial_id"].to_pylist())
        return self._known

    def _read_file(self, path: str) -> pa.Table | None:
        """The file's rows, or None, having set it aside, where it is not what it should be."""
        try:  # what goes wrong in here is the file system's fault, and says nothing of the file
            content = pa.BufferReader(self.folder.read(path))
        except FileNotFoundError:  # another driver has just moved it, or it was compacted
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.uri}/{path} ({reason(error)})") from error
        try:
            # Four times as fast as read_table, which takes the file for a dataset.
            parquet = pq.ParquetFile(content, page_checksum_verification=True)
            table = parquet.read(use_threads=False)
            version = int((table.schema.metadata or {})[_VERSION_KEY])
            if version <= SCHEMA_VERSION:
                table = _completed(table, version)
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


def _path(trial_id: str) -> str:
    return f"rows/{trial_id}.parquet"


def _completed(table: pa.Table, version: int) -> pa.Table:
    """The table with ``SCHEMA``: rows of an older version lack the newer columns."""
    for field in SCHEMA:
        if field.name not in table.column_names and version < SCHEMA_VERSION:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    if table.schema.equals(SCHEMA):
        return table.replace_schema_metadata(SCHEMA.metadata)
    return table.select(SCHEMA.names).cast(SCHEMA)


def read(uri: str) -> pa.Table:
    """All rows of the results folder at ``uri`` as one Arrow table; see ``COLUMNS``."""
    return Store(uri).read()
