"""The grid of a study: method x task x regime x seed, and the dependencies of its cells."""

import dataclasses
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from aa_ray.core import architectures, configurations, deviations
from aa_ray.core.architectures import AA, FIRST_SEED, Layers, Method, Selection, last
from aa_ray.core.backbones import Backbone, Rates
from aa_ray.data import glue, regimes
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.study.tuning import Tuning
from aa_ray.trial import Precision, Trial

# The variant of a study that changes nothing.
PLAIN = ""

# Fields in which the trials of one grid differ.
CELL_FIELDS = frozenset(
    "task regime seed data layers activation switched inference_depths configuration".split()
)

# Further fields in which they differ if rates are tuned.
RATE_FIELDS = frozenset("learning_rate rational_learning_rate switch_learning_rate".split())


class Variant(NamedTuple):
    """One set of settings with which a study runs its whole grid.

    Attributes:
        name: as in ``Cell``.
        settings: (field of ``Trial``, value) of each changed setting. A setting that cannot change
            a trial's result is not applied to it, so that variants share trials.
    """

    name: str
    settings: tuple[tuple[str, Any], ...] = ()


UNVARIED = (Variant(PLAIN),)


class Cell(NamedTuple):
    """One cell of the grid. Several cells may resolve to the same trial."""

    method: str
    task: str
    regime: str
    seed: int
    variant: str = PLAIN
    step: int | None = None  # tuning step whose rates it tries; None: the study's or tuned rates

    def __str__(self) -> str:
        variant = f" {self.variant}" if self.variant != PLAIN else ""
        step = f" tuning step {self.step}" if self.step is not None else ""
        return f"{self.method} {self.task} {self.regime} seed {self.seed}{variant}{step}"


@dataclass(frozen=True)
class Study:
    """The methods, tasks, regimes and seeds to run, and their settings.

    ``cells`` adds what the grid depends on: the ``aa`` trials that select the layers of others, and
    the trials for tuning rates.

    Attributes:
        rates: the learning rates, unless they are tuned.
        variants: the settings with which to repeat the whole grid.
        select_per_variant: whether a variant's focused architectures follow the ``aa`` trials of
            that variant; otherwise they follow those of ``PLAIN``.
        tuning: how to tune the rates for each method, task and regime; None: use ``rates``.
        last_n: the number of layers N; None: as many as ``aa`` selected for QQP.
        full_seeds: how many of the seeds are used with full data; the paper uses one (section 4.4).
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
    variants: tuple[Variant, ...] = UNVARIED
    select_per_variant: bool = True
    tuning: Tuning | None = None
    last_n: int | None = None
    full_seeds: int = 1

    def __post_init__(self) -> None:
        for name in self.methods:
            check_method(name, self.backbone)

    def with_variants(
        self, variants: Iterable[Variant], select_per_variant: bool = True
    ) -> "Study":
        """This study repeated in these variants, to compare settings.

        Raises:
            UsageError: settings were also given on the command line; they would be lost.
        """
        if self.variants != UNVARIED:
            raise UsageError("--set: this study varies the settings itself; omit --set")
        return dataclasses.replace(
            self, variants=tuple(variants), select_per_variant=select_per_variant
        )

    def seeds_of(self, regime: str) -> tuple[int, ...]:
        """The regime's seeds; full data only uses the first ``full_seeds``."""
        return self.seeds if regimes.get(regime).low_data else self.seeds[: self.full_seeds]

    @cached_property
    def left_out(self) -> dict[tuple[str, str], int]:
        """(task, regime) that need more examples than the task has -> the number that it has."""
        rows = {task: self.source.train_rows(task) for task in self.tasks}
        return {
            (task, regime): rows[task]
            for task, regime in itertools.product(self.tasks, self.regimes)
            if 0 < rows[task] < (regimes.get(regime).size or 0)  # an empty task is an error later
        }

    def grid(self) -> list[Cell]:
        """The requested cells without those of ``left_out``."""
        names = [variant.name for variant in self.variants]
        return [
            Cell(method, task, regime, seed, variant)
            for regime, seed, task, variant, method in itertools.product(
                self.regimes, self.seeds, self.tasks, names, self.methods
            )
            if seed in self.seeds_of(regime) and (task, regime) not in self.left_out
        ]

    @cached_property
    def cells(self) -> list[Cell]:
        """The grid and all that it depends on; a cell comes after those that it needs.

        Among independent cells, those that most other cells need come first.
        """
        dependents: Counter[Cell] = Counter()
        height: dict[Cell, int] = {}  # length of the longest chain of needs below it

        def visit(cell: Cell) -> int:
            if cell not in height:
                needs = self.needs(cell)
                dependents.update(needs)
                height[cell] = max((visit(need) + 1 for need in needs), default=0)
            return height[cell]

        for cell in self.grid():
            visit(cell)
        return sorted(height, key=lambda cell: (height[cell], -dependents[cell]))  # stable

    def needs(self, cell: Cell) -> list[Cell]:
        """The cells whose rows decide which trial this one is.

        First the ``aa`` cells that select its layers, then the cells for tuning its rates.
        """
        return [
            *self.selecting_cells(cell), *itertools.chain.from_iterable(self.tuning_cells(cell))
        ]  # fmt: skip

    def selecting_cells(self, cell: Cell) -> list[Cell]:
        """The ``aa`` cells that select this cell's layers."""
        return [self.selecting_cell(selection, cell) for selection in self._selections(cell)]

    def tuning_cells(self, cell: Cell) -> list[list[Cell]]:
        """The cells for tuning this one's rates: for each step, one per tuning seed."""
        if self.tuning is None or cell.step is not None:
            return []
        steps = range(len(self.tuning.settings))
        return [[cell._replace(seed=s, step=step) for s in self.tuning.seeds] for step in steps]

    def _selections(self, cell: Cell) -> list[Selection]:
        """The selections that the cell's method needs and the study does not set itself."""
        needs = architectures.get(cell.method).needs
        return [need for need in needs if not (need.size_only and self.last_n is not None)]

    def selecting_cell(self, selection: Selection, cell: Cell) -> Cell:
        """The ``aa`` cell whose trial makes the selection for this cell."""
        variant = cell.variant if self.select_per_variant else PLAIN
        task, regime = selection.task or cell.task, selection.regime or cell.regime
        return Cell(AA, task, regime, FIRST_SEED, variant)

    def selected(self, cell: Cell, made: Sequence[Layers]) -> list[Layers]:
        """The layers of each selection; ``made`` are those of the ``aa`` trials that it needs."""
        by_selection = dict(zip(self._selections(cell), made, strict=True))
        of_study = last(self.backbone.num_layers, self.last_n or 0)
        return [by_selection.get(s, of_study) for s in architectures.get(cell.method).needs]

    def trial(self, cell: Cell, made: Sequence[Layers] = (), rates: Rates | None = None) -> Trial:
        """The cell's trial.

        Args:
            made: the layers selected by each of the ``aa`` trials that it needs.
            rates: the tuned rates, if rates are tuned.
        """
        method = architectures.get(cell.method)
        selected = self.selected(cell, made)
        layers = method.layers(self.backbone.num_layers, *selected)
        if method.drawn:
            layers = _drawn(self.backbone.num_layers, len(layers), cell)
        if self.tuning is not None and cell.step is not None:
            rates = self.tuning.settings[cell.step]
        rates = rates or self.rates
        trial = Trial(
            task=cell.task,
            regime=cell.regime,
            seed=cell.seed,
            backbone=self.backbone.identity,
            data=self._data[cell.task],
            layers=layers,
            # Without adapters the activation has no effect, so it must not distinguish trials.
            activation=method.activation if layers else architectures.RELU,
            switched=method.switched,
            inference_depths=method.inference_depths(selected),
            learning_rate=rates.adapter,
            rational_learning_rate=rates.rational,
            switch_learning_rate=rates.switch,
            epochs=self.epochs,
            precision=self.precision,
            pooling=self.backbone.pooling,
            configuration=_configuration(method, layers),
            empty_selection="full" if method.fine_tunes else "classifier",
        )
        changes = {
            name: value
            for name, value in self._settings.get(cell.variant, ())
            if deviations.applies(name, trial)
            and not (name == "empty_selection" and method.fine_tunes)  # fine-tuning is the method
        }
        return dataclasses.replace(trial, **changes)

    @cached_property
    def _settings(self) -> dict[str, tuple[tuple[str, Any], ...]]:
        """Settings by variant, including ``PLAIN``, whose ``aa`` trials variants may need."""
        return {variant.name: variant.settings for variant in self.variants}

    @cached_property
    def _data(self) -> dict[str, str]:
        return {task: self.source.identity(task) for task in {cell.task for cell in self.cells}}

    def bytes_needed(self, running: int) -> int:
        """Generous estimate of the space for all rows and ``running`` trials' checkpoints."""
        layers, hidden = self.backbone.num_layers, self.backbone.hidden_size
        row = 50_000 + layers * (64 * 8 + (self.epochs + 1) * 12 * 4)
        parameters = layers * 2 * hidden * (hidden // 16 + 1) + 4 * hidden
        # Weights, two moments and a best epoch, 4 bytes each, twice while a checkpoint is replaced.
        return len(self.cells) * row + running * parameters * 4 * 4 * 2

    def check_data(self, planning: bool = False) -> None:
        """Read all tasks and draw all splits once, to detect bad data before the start.

        Args:
            planning: whether nothing will run, so that nothing need come from the hub.

        Raises:
            UsageError: see ``Source.load``; or all cells need more examples than their task has.
        """
        if not self.grid():
            (_, regime), available = next(iter(self.left_out.items()))
            raise glue.too_large(regime, available)
        for task, regime in sorted({(cell.task, cell.regime) for cell in self.cells}):
            if planning and self.source.is_elsewhere(task):
                continue
            glue.split(self.source.load(task), regime, FIRST_SEED)


def check_method(name: str, backbone: Backbone) -> None:
    """Refuse a method that distinguishes layers on an encoder whose layers share their weights.

    Raises:
        UsageError: the method does, and the layers share weights.
    """
    method = architectures.get(name)
    tells_apart = method.switched or method.needs or method.drawn or method.depths
    if backbone.passes > 1 and tells_apart:
        raise UsageError(
            f"--methods {name}: {backbone.identity} runs {backbone.num_layers} layer(s) "
            f"{backbone.passes} times with the same weights, and with them the same adapter, so no "
            "method can choose among its layers; use baseline, rational-only, or one without "
            "switches such as lora"
        )


def _configuration(method: Method, layers: Layers) -> str:
    """The method's AdapterHub configuration as text; empty if it has none, or no layers."""
    if method.configuration is None or not layers:
        return ""
    return configurations.as_text(method.configuration)


def _drawn(num_layers: int, count: int, cell: Cell) -> Layers:
    """``count`` random layers, which depend only on the cell's task, regime and seed."""
    import numpy as np  # here, so that the command line starts fast

    key = zlib.crc32(f"{cell.task} {cell.regime}".encode())
    drawn = np.random.default_rng([cell.seed, key]).choice(num_layers, count, replace=False)
    return tuple(sorted(int(layer) for layer in drawn))
