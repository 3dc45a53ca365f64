"""Data regimes: how many annotated examples a trial may use (paper section 4.4)."""

from dataclasses import dataclass

from aa_ray.errors import UsageError

# A bound against typing errors; no task has more examples.
MOST_EXAMPLES = 100_000_000


@dataclass(frozen=True)
class Regime:
    """An amount of annotated data.

    Attributes:
        name: as on the command line and in rows.
        size: annotated examples, training plus development set; None: all there are.
    """

    name: str
    size: int | None

    @property
    def low_data(self) -> bool:
        """Whether it is a sample, which the paper calls low-data; all seeds are run there."""
        return self.size is not None

    @property
    def title(self) -> str:
        """As the paper's tables call it."""
        return f"Low-data-{self.name}" if self.low_data else "Full data"

    @property
    def order(self) -> float:
        """Sorts regimes by size, full data last."""
        return float("inf") if self.size is None else self.size


FULL = Regime("full", None)

# The paper's, which the presets name. Any other number of examples is a regime, too.
PAPER = (Regime("100", 100), Regime("300", 300), Regime("500", 500), FULL)
LOW_DATA = tuple(regime for regime in PAPER if regime.low_data)


def get(name: str) -> Regime:
    """The regime of that name: ``full``, or a number of annotated examples.

    Raises:
        UsageError: neither.
    """
    if name == FULL.name:
        return FULL
    digits = name.isascii() and name.isdigit() and len(name) < 10
    # At least one example has to train and one to develop; a name has one spelling only.
    if not digits or not 2 <= int(name) <= MOST_EXAMPLES or str(int(name)) != name:
        raise UsageError(
            f"unknown regime {name!r}; expected a number of annotated examples (the paper has "
            f"{', '.join(regime.name for regime in LOW_DATA)}) or {FULL.name}"
        )
    return Regime(name, int(name))
