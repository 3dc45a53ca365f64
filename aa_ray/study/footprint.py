"""GPU memory of finished trials, by task and precision, from their rows."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

# Two GPUs of one kind report slightly different sizes.
SAME_SIZE = 0.95


class Footprint:
    """The memory of one backbone's trials on GPUs.

    Only rows of the same precision and task are used: bf16 takes half of fp32, and CoLA's sentences
    have a tenth of RTE's tokens.
    """

    def __init__(self) -> None:
        self._peaks: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        self._too_many: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take a finished row into account; those from CPUs or before schema 8 have no effect."""
        if row.get("precision") is None:
            return
        key = row["task"], row["precision"]
        if row.get("too_many_trials"):
            size = row.get("device_memory_bytes") or 0
            self._too_many[key].append((size, row["too_many_trials"]))
        if row.get("peak_memory_bytes") and not (row.get("device") or "cpu").startswith("cpu"):
            self._peaks[key].append((row["peak_memory_bytes"], len(row.get("array") or [1])))

    def per_trial(self, task: str, precision: str, shared: int) -> int | None:
        """Maximum bytes that a trial took in addition to ``shared``; None without a row."""
        peaks = self._peaks.get((task, precision), ())
        return max((max(0, peak - shared) // trials for peak, trials in peaks), default=None)

    def most(self, task: str, precision: str, memory_bytes: int) -> int | None:
        """Number of trials side by side that fit into this memory; None if all have fitted so far.

        If n trials did not fit, groups of half that size continued.
        """
        failures = self._too_many.get((task, precision), ())
        halves = [
            max(1, (trials + 1) // 2)
            for size, trials in failures
            if not size or size >= SAME_SIZE * memory_bytes
        ]
        return min(halves, default=None)
