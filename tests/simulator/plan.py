"""A seed decides the study, its drivers, the store and the faults before anything runs."""

import random
from dataclasses import dataclass

from aa_ray.core.backbones import RELEASED_RATES, Backbone
from aa_ray.data.glue import Source
from aa_ray.study.grid import Study
from tests.simulator import training
from tests.simulator.world import HOUR

ROOT = "results"


class SimulatedStudy(Study):
    """A study that never reads its data."""

    def check_data(self, planning: bool = False) -> None:
        pass


@dataclass(frozen=True)
class Plan:
    """The decisions of a seed before anything runs."""

    seed: int
    store: str  # disk, shared, bucket, bucket without conditions
    drivers: int
    fuse: int
    faults_until: float
    kill_rate: float
    stall_rate: float
    error_rate: float
    lag: float
    power_cuts: tuple[float, ...]
    outages: tuple[tuple[float, float], ...]
    full: tuple[tuple[float, float], ...]
    clock_steps: tuple[tuple[float, float], ...]
    compactions: tuple[float, ...]
    damages: tuple[float, ...]
    give_up: bool  # whether a trial's process may die until Tune gives up

    @classmethod
    def of(cls, seed: int) -> "Plan":
        rng = random.Random(f"plan {seed}")
        until = rng.choice((60.0, 200.0, 400.0))
        store = rng.choice(("disk", "shared", "bucket", "bucket without conditions"))
        on_disk = store in ("disk", "shared")

        def times(most: int) -> list[float]:
            return sorted(rng.uniform(0, until) for _ in range(rng.randrange(most + 1)))

        def some(*rates: float) -> float:
            return rng.choice((0.0, *rates))

        lag = some(0.0, 3.0, 30.0) if store == "bucket" else 0.0
        return cls(
            seed, store, rng.choice((1, 2, 2, 3, 5)), rng.choice((1, 1, 3)), until,
            some(0.001, 0.004, 0.02), some(0.001, 0.004),
            0.0 if on_disk else some(0.01, 0.05), lag,
            tuple(times(2)) if on_disk and rng.random() < 0.5 else (),
            () if on_disk else tuple((at, rng.choice((5.0, 60.0, 300.0))) for at in times(1)),
            tuple((at, rng.choice((5.0, 60.0))) for at in times(1)) if on_disk else (),
            tuple((at, rng.choice((-HOUR, HOUR))) for at in times(2)),
            tuple(times(3)) if lag == 0.0 else (),
            tuple(times(4)),
            rng.random() < 0.1,
        )  # fmt: skip


def make_study(seed: int) -> Study:
    """Return a study of eight to twelve trials, some of which wait for others."""
    rng = random.Random(f"study {seed}")
    return SimulatedStudy(
        methods=("baseline", "aa", "aa-focused-spec", "aa-focused-uni"),
        tasks=rng.choice((("qqp",), ("qqp", "sst2"))),
        regimes=("100",),
        seeds=(42, 92) if rng.random() < 0.3 else (42,),
        backbone=Backbone("simulated", "simulated", training.LAYERS, 32, pooling="mean"),
        source=Source("embedded"),
        rates=RELEASED_RATES,
        epochs=3,
    )
