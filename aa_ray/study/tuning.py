"""Learning rates tuned for every method, with the same budget for each.

A method is run with each of a few settings on seeds that are used for nothing else. The setting
with the best mean development score is then used for all of its other trials of that task and
regime. Test scores take no part. The settings differ in the rate of adapters and classifier; the
rates of rationals and switches are the released code's in all of them. So every method has as many
settings, and ``studies/step_size.py``, whose steps they are too, shares the trials.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from aa_ray.core.backbones import RELEASED_RATES, Rates
from aa_ray.errors import UsageError

# Rates of adapters and classifier, the first of which is the released one. A budget takes the first
# so many; they are ordered by how far they are from it.
ADAPTER_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 3e-5, 1e-5)
BUDGET = 6

# No study may use these for anything else.
SEEDS = (9001, 9002, 9003)


@dataclass(frozen=True)
class Tuning:
    """How rates are tuned.

    Attributes:
        settings: by ascending rate of the adapters; the same for every method.
        seeds: of the trials that are compared.
    """

    settings: tuple[Rates, ...]
    seeds: tuple[int, ...] = SEEDS

    @classmethod
    def with_budget(cls, budget: int = BUDGET) -> "Tuning":
        """As many settings for every method.

        Raises:
            UsageError: fewer than two, or more than there are.
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
            scores: development scores of each setting, one per seed; minus infinity where training
                failed.
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
    """The setting that a method got for a task and regime.

    Attributes:
        rates: the setting; of equally good ones that with the smallest rate.
        means: mean development score of each setting.
        tied: whether others are exactly as good.
        at_edge: whether it is the smallest or the largest, so that one beyond may be better.
    """

    rates: Rates
    means: tuple[float, ...]
    tied: bool
    at_edge: bool
