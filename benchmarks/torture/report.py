"""What was done to studies, and how their rows compare with an undisturbed study's."""

import json
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

from aa_ray.store import provenance
from aa_ray.store.rows import read

# Columns that say when, where and (if several methods share the trial) as which of them a trial
# ran, not what came out.
INCIDENTAL = {"train_seconds", "test_seconds", "peak_memory_bytes", "started_at", "finished_at",
              "host", "hosts", "method", "resumed_after", "commit", "dirty"}  # fmt: skip
COLUMNS = ("faults", "studies", "starts", "trials", "continued", "repeated", "lost", "twice",
           "differing", "minutes")  # fmt: skip


@dataclass
class Report:
    """Which faults there were, and with what effect."""

    kills: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    starts: int = 0
    trials: int = 0
    resumed: int = 0
    repeated: int = 0
    lost: int = 0
    duplicates: int = 0
    differing: int = 0
    seconds: float = 0.0

    def markdown(self) -> str:
        """Return one row of a table with ``COLUMNS``."""
        return f"| {self.kills.total():,} ({self.kinds()}) | {' | '.join(self.counts())} |"

    def kinds(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))

    def counts(self) -> list[str]:
        """Return all columns but the first."""
        counts = (self.studies, self.starts, self.trials, self.resumed, self.repeated, self.lost,
                  self.duplicates, self.differing)  # fmt: skip
        return [*(f"{count:,}" for count in counts), f"{self.seconds / 60:.0f}"]

    def add(self, other: "Report") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def append_to(self, log: Path) -> None:
        """Add a line for one study, with the code that ran it and the day."""
        commit, dirty = provenance.commit()
        line = {"commit": f"{commit}{'+changes' if dirty else ''}", "date": str(date.today())}
        with log.open("a") as file:
            file.write(json.dumps(line | vars(self)) + "\n")

    @classmethod
    def read(cls, log: Path | None) -> "Report":
        """Return the sum of the studies in a log."""
        total = cls()
        if log is not None and log.exists():
            for line in log.read_text().splitlines():
                values = json.loads(line)
                counts = {field.name: values[field.name] for field in fields(cls)}
                total.add(cls(**counts | {"kills": Counter(counts["kills"])}))
        return total

    def count_repeated(self, results: str, finished: dict[str, Any]) -> None:
        """Count finished trials whose row has changed since the last call with ``finished``."""
        for row in read(results).to_pylist():
            before = finished.setdefault(row["trial_id"], row["finished_at"])
            self.repeated += before != row["finished_at"]

    def compare(self, undisturbed: str, disturbed: str) -> None:
        """Count rows that the disturbed study lost, holds twice, or holds with other values."""
        tables = [read(results).to_pylist() for results in (undisturbed, disturbed)]
        expected, found = (
            {(row["trial_id"], tuple(row["adapter_layers"] or ())): row for row in rows}
            for rows in tables
        )
        self.trials = len({trial_id for trial_id, _ in expected})
        self.resumed = len({row["trial_id"] for row in tables[1] if row["resumed_after"]})
        self.lost = len(expected.keys() - found.keys())
        self.duplicates = len(tables[1]) - len(found)
        self.differing = sum(
            any(row[c] != found[key][c] for c in row.keys() - INCIDENTAL)
            for key, row in expected.items()
            if key in found
        ) + len(found.keys() - expected.keys())
