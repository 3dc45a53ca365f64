"""Data of a custom task: files or a data set on the hub, as tables like GLUE's."""

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aa_ray import hub
from aa_ray.data.tasks import Task
from aa_ray.errors import UsageError

# Assumed sizes for the time forecast; those of a data set on the hub are not known beforehand.
UNKNOWN_SIZES = (10_000, 1_000)


@dataclass(frozen=True)
class Data:
    """The common part of ``Files`` and ``Hub``.

    Attributes:
        train, test: the file or split; a float is the share of the training data to hold out.
        label: the column with the label.
        values: the label's values, in the order of the classes; empty for regression.
    """

    train: str
    test: str | float
    label: str
    values: tuple[str, ...]

    def tables(self, task: Task) -> tuple[pa.Table, pa.Table]:
        """Training and test data, with the columns of ``task.texts`` and ``label``.

        Raises:
            UsageError: the data is missing or malformed.
        """
        train = self._table(self.train, task)
        if isinstance(self.test, str):
            return train, self._table(self.test, task)
        order = np.random.default_rng(0).permutation(len(train))
        held_out = round(self.test * len(train))
        return train.take(np.sort(order[held_out:])), train.take(np.sort(order[:held_out]))

    def _table(self, name: str, task: Task) -> pa.Table:
        found = self._read(name, task)
        wanted = [*task.texts, self.label]
        missing = [column for column in wanted if column not in found.column_names]
        if missing:
            raise UsageError(
                f"task {task.name}, {name}: column {', '.join(missing)} is missing; found "
                f"{', '.join(found.column_names)}"
            )
        labels = self._labels(found[self.label], f"task {task.name}, {name}")
        return found.select(list(task.texts)).append_column("label", labels)

    def _labels(self, column: pa.ChunkedArray, where: str) -> pa.Array:
        """The labels as class numbers, or as numbers for regression."""
        if not self.values:
            try:
                return column.cast(pa.float64()).combine_chunks()
            except pa.ArrowInvalid as error:
                raise UsageError(f"{where}: column {self.label}: {error}") from error
        numbers = {value: n for n, value in enumerate(self.values)}
        texts = [str(value) for value in column.to_pylist()]
        strange = sorted(set(texts) - numbers.keys())
        if strange:
            raise UsageError(
                f"{where}: column {self.label} has the values {', '.join(strange[:5])}, expected "
                f"{', '.join(numbers)}"
            )
        return pa.array([numbers[text] for text in texts], pa.int64())

    def _definition(self, task: Task) -> list[Any]:
        """Everything that defines the task, except the content of the data."""
        held_out = self.test if isinstance(self.test, float) else None
        return [task.texts, task.metrics, self.label, self.values, held_out]

    def _read(self, name: str, task: Task) -> pa.Table:
        raise NotImplementedError


@dataclass(frozen=True)
class Files(Data):
    """Files: CSV, TSV, JSON or Parquet, according to the extension.

    Attributes:
        folder: the folder that the paths are relative to.
    """

    folder: str

    def identity(self, task: Task) -> str:
        """A hash of the definition and the content."""
        names = [self.train, *([self.test] if isinstance(self.test, str) else [])]
        contents = [hashlib.sha256(self._content(n, task)).hexdigest() for n in names]
        return f"own-{_hash([*self._definition(task), contents])[:16]}"

    def sizes(self, task: Task) -> tuple[int, int]:
        """Number of training and test rows."""
        train, test = self.tables(task)
        return len(train), len(test)

    def _content(self, name: str, task: Task) -> bytes:
        path = Path(self.folder, name)
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"task {task.name}: {path} cannot be read ({error.strerror}); paths are relative "
                "to the file that defines the task"
            ) from error

    def _read(self, name: str, task: Task) -> pa.Table:
        content = self._content(name, task)
        kind = Path(name).suffix.lower()
        try:
            if kind == ".parquet":
                return pq.read_table(pa.BufferReader(content))
            if kind in (".csv", ".tsv"):
                lines = io.StringIO(content.decode("utf-8-sig"), newline="")
                delimiter = "," if kind == ".csv" else "\t"
                reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
                rows = list(reader)
                if any(None in row or None in row.values() for row in rows):
                    raise ValueError("a line has more or fewer fields than the first")
                columns = reader.fieldnames or []
                return pa.table({c: pa.array([row[c] for row in rows], pa.string())
                                 for c in columns})  # fmt: skip
            if kind in (".json", ".jsonl"):
                text = content.decode().strip()
                rows = json.loads(text) if text.startswith("[") else _json_lines(text)
                return pa.Table.from_pylist(rows)
        except (ValueError, TypeError, AttributeError, csv.Error, pa.ArrowException) as error:
            raise UsageError(f"task {task.name}: {name} cannot be read ({error})") from error
        raise UsageError(
            f"task {task.name}: {name}: expected a file name ending in .csv, .tsv, .json, .jsonl "
            "or .parquet"
        )


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@dataclass(frozen=True)
class Hub(Data):
    """A data set on the hub, pinned to a commit."""

    name: str
    config: str | None
    revision: str

    def identity(self, task: Task) -> str:
        """Name and commit, and a hash of the definition."""
        definition = [*self._definition(task), self.config, self.train, self.test]
        return f"{self.name}@{self.revision[:12]}-{_hash(definition)[:8]}"

    def sizes(self, task: Task) -> tuple[int, int]:
        """Assumed sizes, since those of the data set are not known beforehand."""
        return UNKNOWN_SIZES

    def _read(self, name: str, task: Task) -> pa.Table:
        cached = hub.has_dataset(self.name, self.config)
        instead = "files instead of the data set"
        if refused := hub.refusal(cached, hub.datasets_cache(), instead):
            raise UsageError(
                f"task {task.name}: split {name} of {self.name} could not be loaded from the hub: "
                f"{refused}"
            )
        import datasets

        try:
            with hub.from_cache_if_silent(cached):
                found = datasets.load_dataset(
                    self.name, self.config, split=name, revision=self.revision
                )
        except Exception as error:  # network, proxy and hub failures have no common base class
            raise UsageError(
                f"task {task.name}: split {name} of {self.name} could not be loaded from the hub "
                f"({str(error).splitlines()[0]}); check the names and the network"
            ) from error
        return found.with_format("arrow")[:]


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
