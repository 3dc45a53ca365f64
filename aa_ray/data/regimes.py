"""Data regimes: how many annotated examples a trial may use (paper section 4.4)."""

from dataclasses import dataclass

from aa_ray.errors import UsageError, shortened

# An upper bound that catches typing errors; no task has more examples.
MOST_EXAMPLES = 100_000_000


@dataclass(frozen=True)
class Regime:
    """An amount of annotated data.

    Attributes:
        name: as on the command line and in rows.
        size: annotated examples, training plus development set; None: all of them.
    """

    name: str
    size: int | None

    @property
    def low_data(self) -> bool:
        """Whether it is a sample, which the paper calls low-data; only these run all seeds."""
        return self.size is not None

    @property
    def title(self) -> str:
        """Its name in the paper's tables."""
        return f"Low-data-{self.name}" if self.low_data else "Full data"

    @property
    def order(self) -> float:
        """Sort key: by size, full data last."""
        return float("inf") if self.size is None else self.size


FULL = Regime("full", None)

# The paper's regimes, which the presets name. Any other number of examples is a regime too.
PAPER = (Regime("100", 100), Regime("300", 300), Regime("500", 500), FULL)
LOW_DATA = tuple(regime for regime in PAPER if regime.low_data)


def get(name: str) -> Regime:
    """The regime of that name: ``full``, or a number of annotated examples.

    Raises:
        UsageError: it is neither.
    """
    if name == FULL.name:
        return FULL
    digits = name.isascii() and name.isdigit() and len(name) < 10
    # Training and development set need an example each. A regime has only one spelling.
    if not digits or not 2 <= int(name) <= MOST_EXAMPLES or str(int(name)) != name:
        raise UsageError(
            f"unknown regime {shortened(name)!r}; expected a number of annotated examples (the "
            f"paper has {', '.join(regime.name for regime in LOW_DATA)}) or {FULL.name}"
        )
    return Regime(name, int(name))
