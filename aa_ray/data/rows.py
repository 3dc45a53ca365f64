"""Rows of a table in an order of their own, which are not copied before they are read.

A full training set is a shuffled table, split in two; copies of its texts would take a process more
memory than all that it trains on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where rows are read: the command line needs neither
    import numpy as np
    import pyarrow as pa

# Rows that are copied at a time.
PIECE = 1024


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of an Arrow table.

    Attributes:
        table: it.
        indices: which of its rows, in which order; None: all as they come.
    """

    table: pa.Table
    indices: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.table) if self.indices is None else len(self.indices)

    @property
    def column_names(self) -> list[str]:
        return list(self.table.column_names)

    def taken(self) -> pa.Table:
        """A table of these rows alone."""
        return self.table if self.indices is None else self.table.take(self.indices)

    def pieces(self) -> Iterator[pa.Table]:
        """The same, a thousand rows at a time."""
        for start in range(0, len(self), PIECE):
            if self.indices is None:
                yield self.table.slice(start, PIECE)
            else:
                yield self.table.take(self.indices[start : start + PIECE])

    def labels(self) -> np.ndarray:
        """The column ``label``, [n]."""
        labels: np.ndarray = self.table["label"].to_numpy()
        return labels if self.indices is None else labels[self.indices]
