"""Test score against learning rate by method, task and regime: the figures of step_size.py.

They show all training runs, the mean with its 95 % interval, chance, and how many runs take off
(end above chance). Draws existing rows, runs nothing.

    python studies/step_size.py && python studies/plot_step_size.py
"""

import sys
from collections.abc import Iterable

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report import step_size
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import rates
from aa_ray.report.results import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return rates.learning_rates(results)


if __name__ == "__main__":
    sys.exit(
        views.draw(
            __doc__ or "",
            architectures.STEP_SIZE,
            drawings,
            sys.argv[1:],
            adapt=step_size.with_ladder,
        )
    )
