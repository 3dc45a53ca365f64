"""Tunes learning rates for each method with the same budget.

Each method is run with a few settings on seeds that are used for nothing else. The setting with the
best mean development score is then used for all other trials of the method on that task and regime.
Test scores are never used. The settings differ in the rate of adapters and classifier; the rates of
rationals and switches are always the released code's. So all methods have the same number of
settings. ``studies/step_size.py`` has the same steps and shares the trials.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from aa_ray.core.backbones import RELEASED_RATES, Rates
from aa_ray.errors import UsageError

# Rates of adapters and classifier. The first is the released rate, and the others are ordered by
# their distance from it. A budget of n uses the first n.
ADAPTER_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 3e-5, 1e-5)
BUDGET = 6

# No study may use these for anything else.
SEEDS = (9001, 9002, 9003)


@dataclass(frozen=True)
class Tuning:
    """The settings and seeds with which rates are tuned.

    Attributes:
        settings: in ascending order of the adapters' rate; the same for all methods.
        seeds: the seeds of the compared trials.
    """

    settings: tuple[Rates, ...]
    seeds: tuple[int, ...] = SEEDS

    @classmethod
    def with_budget(cls, budget: int = BUDGET) -> "Tuning":
        """A tuning with ``budget`` settings per method.

        Raises:
            UsageError: fewer than two settings, or more than exist.
        """
        if not 2 <= budget <= len(ADAPTER_RATES):
            raise UsageError(
                f"--tuning-budget {budget}: expected 2 to {len(ADAPTER_RATES)} settings per method"
            )
        rates = sorted(ADAPTER_RATES[:budget])
        return cls(tuple(dataclasses.replace(RELEASED_RATES, adapter=rate) for rate in rates))

    def choose(self, scores: Sequence[Sequence[float]]) -> "Choice":
        """The best of the settings.

        Args:
            scores: development scores of each setting, one per seed; minus infinity if the
                training run failed.
        """
        means = tuple(math.fsum(of_setting) / len(of_setting) for of_setting in scores)
        best = max(means)
        winners = [k for k, mean in enumerate(means) if mean == best]
        first = winners[0]
        return Choice(
            rates=self.settings[first],
            means=means,
            tied=len(winners) > 1,
            at_edge=first in (0, len(means) - 1),
        )


@dataclass(frozen=True)
class Choice:
    """The tuned setting of a method for a task and regime.

    Attributes:
        rates: the setting; among equally good ones, the one with the smallest rate.
        means: mean development score of each setting.
        tied: whether other settings are exactly as good.
        at_edge: whether it is the smallest or the largest, so that one beyond may be better.
    """

    rates: Rates
    means: tuple[float, ...]
    tied: bool
    at_edge: bool
