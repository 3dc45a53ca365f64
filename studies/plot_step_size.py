"""Score against learning rate, per method: the picture to step_size.py. Runs nothing.

    python studies/step_size.py && python studies/plot_step_size.py

Needs the rows of step_size.py, run with the same options.
"""

import sys
from collections.abc import Iterable

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import figures, step_size
from aa_ray.report.drawing import Drawing
from aa_ray.report.results import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return [figures.learning_rates(results)]


if __name__ == "__main__":
    sys.exit(
        study.draw(
            __doc__ or "",
            architectures.STEP_SIZE,
            drawings,
            sys.argv[1:],
            adapt=step_size.with_ladder,
        )
    )
