"""Some rows of a table, in any order, which are only copied when they are read.

A full training set is a shuffled table, split in two. Copies of its texts would take more of a
process's memory than everything that it trains on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported only where rows are read, since the command line needs neither
    import numpy as np
    import pyarrow as pa

# Number of rows that are copied at a time.
PIECE = 1024


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of an Arrow table.

    Attributes:
        table: the table.
        indices: indices of the rows, in order; None for all rows of the table.
    """

    table: pa.Table
    indices: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.table) if self.indices is None else len(self.indices)

    @property
    def column_names(self) -> list[str]:
        return list(self.table.column_names)

    def taken(self) -> pa.Table:
        """A table with only these rows."""
        return self.table if self.indices is None else self.table.take(self.indices)

    def pieces(self) -> Iterator[pa.Table]:
        """The rows as tables of up to ``PIECE`` rows."""
        for start in range(0, len(self), PIECE):
            if self.indices is None:
                yield self.table.slice(start, PIECE)
            else:
                yield self.table.take(self.indices[start : start + PIECE])

    def labels(self) -> np.ndarray:
        """The column ``label`` of these rows, [n]."""
        labels: np.ndarray = self.table["label"].to_numpy()
        return labels if self.indices is None else labels[self.indices]
