"""The grid of a study: method x task x regime x seed, and which cell waits for which."""

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from aa_ray.core import architectures, deviations
from aa_ray.core.architectures import AA, FIRST_SEED, Layers
from aa_ray.core.backbones import Backbone, Rates
from aa_ray.data import glue, regimes
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.trial import Precision, Trial

# The variant of a study that changes nothing.
PLAIN = ""

Variants = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]


class Cell(NamedTuple):
    """One place of the grid. Several cells may resolve to the same trial."""

    method: str
    task: str
    regime: str
    seed: int
    variant: str = PLAIN

    def __str__(self) -> str:
        variant = f" {self.variant}" if self.variant != PLAIN else ""
        return f"{self.method} {self.task} {self.regime} seed {self.seed}{variant}"


@dataclass(frozen=True)
class Study:
    """What is asked for, and with which settings.

    ``cells`` adds the ``aa`` trials that others depend on where the grid does not have them.

    Attributes:
        variants: (name, (setting of ``Trial``, value) ...) of each variant of the whole grid. A
            setting that cannot change a trial's result is left alone there, so that variants share
            trials.
        own_selections: whether a variant's focused architectures follow its own ``aa`` trials;
            else they follow those of ``PLAIN``.
    """

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    regimes: tuple[str, ...]
    seeds: tuple[int, ...]
    backbone: Backbone
    source: Source
    rates: Rates
    epochs: int
    precision: Precision = "fp32"
    variants: Variants = ((PLAIN, ()),)
    own_selections: bool = True

    def with_variants(self, variants: Variants, own_selections: bool = True) -> "Study":
        """The study in those variants, for a study whose subject the settings are.

        Raises:
            UsageError: settings were chosen by hand as well; they would be lost.
        """
        if self.variants != ((PLAIN, ()),):
            raise UsageError("--set: this study varies the settings itself; leave --set out")
        return dataclasses.replace(self, variants=variants, own_selections=own_selections)

    def seeds_of(self, regime: str) -> tuple[int, ...]:
        """The regime's seeds; full data has the first one only (paper section 4.4)."""
        return self.seeds if regimes.get(regime).low_data else self.seeds[:1]

    @cached_property
    def left_out(self) -> dict[tuple[str, str], int]:
        """(task, regime) that need more examples than the task has, and how many it has."""
        rows = {task: self.source.train_rows(task) for task in self.tasks}
        return {
            (task, regime): rows[task]
            for task, regime in itertools.product(self.tasks, self.regimes)
            if 0 < rows[task] < (regimes.get(regime).size or 0)  # without any, it says so itself
        }

    def grid(self) -> list[Cell]:
        """The cells asked for, but for those of ``left_out``."""
        names = [name for name, _ in self.variants]
        return [
            Cell(method, task, regime, seed, variant)
            for regime, seed, task, variant, method in itertools.product(
                self.regimes, self.seeds, self.tasks, names, self.methods
            )
            if seed in self.seeds_of(regime) and (task, regime) not in self.left_out
        ]

    @cached_property
    def cells(self) -> list[Cell]:
        """The grid and what it depends on, those first on which the most cells wait."""
        waiting = Counter(need for cell in self.grid() for need in self.needs(cell))
        every = dict.fromkeys([*waiting, *self.grid()])
        return sorted(every, key=lambda cell: -waiting[cell])  # stable

    def needs(self, cell: Cell) -> list[Cell]:
        """The ``aa`` cells whose selected layers decide this cell's architecture."""
        variant = cell.variant if self.own_selections else PLAIN
        return [
            Cell(AA, need.task or cell.task, need.regime or cell.regime, FIRST_SEED, variant)
            for need in architectures.get(cell.method).needs
        ]

    def trial(self, cell: Cell, selected: list[Layers]) -> Trial:
        """The cell's trial, given the selected layers of each of its needs."""
        method = architectures.get(cell.method)
        num_layers = self.backbone.num_layers
        layers = method.layers(num_layers, *selected)
        depths = method.depths(num_layers, *selected) if method.depths else None
        trial = Trial(
            task=cell.task,
            regime=cell.regime,
            seed=cell.seed,
            backbone=self.backbone.identity,
            data=self._data[cell.task],
            layers=layers,
            # Without adapters the activation changes nothing, so it must not tell trials apart.
            activation=method.activation if layers else architectures.RELU,
            switched=method.switched,
            inference_depths=tuple(sorted(set(depths))) if depths else None,
            learning_rate=self.rates.adapter,
            rational_learning_rate=self.rates.rational,
            switch_learning_rate=self.rates.switch,
            epochs=self.epochs,
            precision=self.precision,
            pooling=self.backbone.pooling,
        )
        settings = dict(self.variants).get(cell.variant, ())
        changes = {name: v for name, v in settings if deviations.applies(name, trial)}
        return dataclasses.replace(trial, **changes)

    @cached_property
    def _data(self) -> dict[str, str]:
        return {task: self.source.identity(task) for task in {cell.task for cell in self.cells}}

    def bytes_needed(self, running: int) -> int:
        """Generous estimate of the space for all rows and ``running`` trials' checkpoints."""
        layers, hidden = self.backbone.num_layers, self.backbone.hidden_size
        row = 50_000 + layers * (64 * 8 + (self.epochs + 1) * 12 * 4)
        parameters = layers * 2 * hidden * (hidden // 16 + 1) + 4 * hidden
        # Weights, two moments and a best epoch, each 4 bytes, while the next is being written.
        return len(self.cells) * row + running * parameters * 4 * 4 * 2

    def check_data(self) -> None:
        """Read every task and draw every split once, so that bad data is found before the start.

        Raises:
            UsageError: see ``Source.load``; or every cell needs more examples than there are.
        """
        if not self.grid():
            (_, regime), available = next(iter(self.left_out.items()))
            raise glue.too_large(regime, available)
        for task, regime in sorted({(cell.task, cell.regime) for cell in self.cells}):
            glue.split(self.source.load(task), regime, FIRST_SEED)
