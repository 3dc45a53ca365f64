"""GLUE from the hub, from a folder, or generated; and the splits of a regime.

The official training data is split into training and development sets; the official development
set is the test set (paper section 4.4). The split follows the released code: a regime uses the
first rows of ``numpy.random.default_rng(seed).permutation(n)``, 75 % of them for training and the
rest for development.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aa_ray import hub
from aa_ray.data import generated, regimes, tasks
from aa_ray.data.rows import Rows
from aa_ray.data.tasks import Task
from aa_ray.errors import ChangedInputError, UsageError

# The command line only needs the names of regimes and sources; the functions that read data import
# numpy and pyarrow.
if TYPE_CHECKING:
    import pyarrow as pa

HUB_DATASET = "nyu-mll/glue"
# The newest revision in November 2026, pinned so that a trial always uses the same data.
HUB_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"

# Share of the annotated examples used for training; the others are the development set.
TRAIN_SHARE = 0.75

# The data source recorded in existing rows; it holds no examples.
ROWS = "rows"


class Official(NamedTuple):
    """A task as published: Arrow tables with the task's text columns and ``label``."""

    train: pa.Table
    test: pa.Table


class Splits(NamedTuple):
    """The examples of one trial, with the task's text columns and ``label``."""

    train: Rows
    development: Rows
    test: Rows


@dataclass(frozen=True)
class Source:
    """The source of examples: ``hub``, ``embedded`` or the absolute path of a folder.

    ``rows``: the source of existing rows; only their ``recorded`` (task, identity) pairs are known.
    """

    location: str
    recorded: tuple[tuple[str, str], ...] = ()

    @classmethod
    def named(cls, name: str) -> Source:
        """The source that the command line names; a folder may be relative."""
        if name in ("hub", "embedded"):
            return cls(name)
        return cls(str(Path(name).expanduser().resolve()))

    def identity(self, task: str) -> str:
        """A name of the data that is the same on all machines; part of a trial's identity.

        It holds the hub's revision, the generator's version, or the SHA-256 of the task's files. A
        custom task always uses its own data, whatever the source.
        """
        origin = tasks.get(task).origin
        if origin is not None:
            return origin.identity(tasks.get(task))
        if self.location == ROWS:
            return dict(self.recorded).get(task, "not recorded")
        if self.location == "hub":
            return f"{HUB_DATASET}@{HUB_REVISION[:12]}"
        if self.location == "embedded":
            return f"embedded-{generated.VERSION}"
        digest = hashlib.sha256()
        for path in self._files(tasks.get(task)):
            digest.update(_sha256(path))
        return f"files-{digest.hexdigest()[:16]}"

    def has(self, name: str) -> bool:
        """Whether a folder or the generator has the task; the hub counts as having all tasks.

        Raises:
            UsageError: no such folder.
        """
        if self.location == "hub" or tasks.get(name).origin is not None:
            return True
        if self.location == ROWS:
            return name in dict(self.recorded)
        if self.location == "embedded":
            return name in generated.TASKS
        return all(path.is_file() for path in self._paths(tasks.get(name)))

    def is_elsewhere(self, name: str) -> bool:
        """Whether the task's examples are on the hub or nowhere; then its official size counts."""
        return tasks.get(name).origin is None and self.location in ("hub", ROWS)

    def train_rows(self, name: str) -> int:
        """Number of rows of the task's training data, without reading them.

        For the hub and for existing rows it is the task's official size.

        Raises:
            UsageError: no such folder or file, or not a Parquet file.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        task = tasks.get(name)
        if task.origin is not None or self.is_elsewhere(name):
            return task.train_rows
        if self.location == "embedded":
            return len(self.load(name).train)
        train, _ = self._files(task)
        try:
            return int(pq.read_metadata(train).num_rows)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unreadable(train, error) from error

    def load(self, name: str, planned: str | None = None, keep: bool = True) -> Official:
        """Read a task's official training and test data, checked.

        Args:
            planned: the identity that the data must have according to the trial, if any.
            keep: keep it in memory for the next call.

        Raises:
            UsageError: unknown task, missing file or column, wrong label, empty split, or the hub
                cannot be reached.
            ChangedInputError: the data differs from what was planned.
        """
        official, identity = (_load if keep else _load.__wrapped__)(self, name)
        if planned is not None and planned != identity:
            raise ChangedInputError(
                f"task {name}: the data in {self.location} on this host is not the data that the "
                f"study was planned with ({identity}, expected {planned}); restore it, or run the "
                "study again to plan it with the current data"
            )
        return official

    def _paths(self, task: Task) -> tuple[Path, Path]:
        root = Path(self.location)
        if not root.is_dir():
            raise UsageError(
                f"--data {self.location}: no such folder (expected hub, embedded or a folder "
                "with <task>/train.parquet)"
            )
        folder = root / task.name
        return folder / "train.parquet", folder / f"{task.test_split}.parquet"

    def _files(self, task: Task) -> tuple[Path, Path]:
        for path in self._paths(task):
            if not path.is_file():
                raise UsageError(
                    f"task {task.name}: {path} does not exist; add it, or leave the task out"
                )
        return self._paths(task)


def _sha256(path: Path) -> bytes:
    """SHA-256 of the file's content, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.digest()


@lru_cache(maxsize=16)
def _load(source: Source, name: str) -> tuple[Official, str]:
    """The task's data, and its identity at the time of reading."""
    task = tasks.get(name)
    identity = source.identity(name)
    if task.origin is not None:
        official = Official(*task.origin.tables(task))
    elif source.location == "embedded":
        if name not in generated.TASKS:
            raise UsageError(f"task {name}: no sentences are generated for it; use --data DIR")
        official = Official(*generated.generate(name))
    elif source.location == "hub":
        official = _load_hub(task)
    elif source.location == ROWS:
        raise UsageError(
            "--data rows: rows hold no examples, so nothing can be trained; use it with --no-run, "
            "--plan, figures and claims, or name the data with --data"
        )
    else:
        official = Official(*(_read_parquet(path) for path in source._files(task)))
    where = f"{name} from {source.location if task.origin is None else task.origin.train}"
    if source.identity(name) != identity:
        raise ChangedInputError(f"{where}: the data changed while it was read; run again")
    checked = Official(
        _checked(official.train, task, f"{where}, training split"),
        _checked(official.test, task, f"{where}, {task.test_split} split"),
    )
    return checked, identity


def _load_hub(task: Task) -> Official:
    cached = hub.has_dataset(HUB_DATASET, task.name)
    if refused := hub.refusal(cached, hub.datasets_cache(), "--data DIR or --data embedded"):
        raise UsageError(
            f"task {task.name}: {HUB_DATASET} could not be loaded from the hub: {refused}"
        )
    import datasets

    try:
        with hub.from_cache_if_silent(cached):
            loaded = datasets.load_dataset(HUB_DATASET, task.name, revision=HUB_REVISION)
    except Exception as error:  # network, proxy and hub failures have no common base class
        raise UsageError(
            f"task {task.name}: {HUB_DATASET} could not be loaded from the hub ({error}); check "
            "the network, or use --data DIR or --data embedded"
        ) from error
    return Official(*(loaded[s].with_format("arrow")[:] for s in ("train", task.test_split)))


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Read in pieces, so that a large file is not in memory in addition to its content.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            pieces = list(file.iter_batches(2**16, use_threads=False))
            return pa.Table.from_batches(pieces, file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is not a readable Parquet file ({error}); replace it")


def _checked(table: pa.Table, task: Task, where: str) -> pa.Table:
    """The table reduced to the columns of the task, after a check of their types and values."""
    import pyarrow as pa

    missing = [c for c in (*task.texts, "label") if c not in table.column_names]
    if missing:
        raise UsageError(
            f"{where}: column {', '.join(missing)} is missing; "
            f"found {', '.join(table.column_names)}"
        )
    if len(table) == 0:
        raise UsageError(f"{where}: no rows")
    for column in task.texts:
        kind = table.schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise UsageError(f"{where}: column {column} is {kind}, expected text")
    table = table.select([*task.texts, "label"])
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{where}: not valid UTF-8 text ({error}); convert the file") from error
    if any(table[column].null_count for column in table.column_names):
        raise UsageError(f"{where}: empty (null) values; remove those rows")
    _check_labels(table["label"], task, where)
    return table.combine_chunks()  # each selection of rows would copy all of several chunks


def _check_labels(labels: pa.ChunkedArray, task: Task, where: str) -> None:
    import numpy as np
    import pyarrow as pa

    values = labels.to_numpy()
    if task.regression:
        if not pa.types.is_floating(labels.type):
            raise UsageError(f"{where}: label is {labels.type}, expected a float")
        if not np.isfinite(values).all():
            raise UsageError(f"{where}: labels contain NaN or infinity; remove those rows")
        return
    if not pa.types.is_integer(labels.type):
        raise UsageError(f"{where}: label is {labels.type}, expected an integer")
    if values.min() < 0 or values.max() >= task.classes:
        raise UsageError(
            f"{where}: labels from {values.min()} to {values.max()}, "
            f"expected 0 to {task.classes - 1} (unlabelled rows cannot be used)"
        )


def split(official: Official, regime: str, seed: int) -> Splits:
    """Training, development and test set of a regime, by the released code's rule.

    Raises:
        UsageError: unknown regime, or one that needs more examples than the task has.
    """
    import numpy as np

    available = len(official.train)
    size = regimes.get(regime).size or available
    if size > available:
        raise too_large(regime, available)
    chosen = np.random.default_rng(seed).permutation(available)[:size]
    train_size = int(TRAIN_SHARE * size)
    return Splits(
        Rows(official.train, chosen[:train_size]),
        Rows(official.train, chosen[train_size:]),
        Rows(official.test),
    )


def too_large(regime: str, available: int) -> UsageError:
    """The error for a regime larger than the training data."""
    return UsageError(
        f"regime {regime} needs {regime} annotated examples, the training data has {available}; "
        "use a smaller regime, or full"
    )


def fingerprint(splits: Splits) -> str:
    """SHA-256 over the exact training, development and test examples, in their order."""
    digest = hashlib.sha256()
    for name, rows in zip(splits._fields, splits, strict=True):
        digest.update(f"{name} {len(rows)} {rows.column_names}\n".encode())
        for piece in rows.pieces():
            for row in zip(*(column.to_pylist() for column in piece.columns), strict=True):
                digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()
