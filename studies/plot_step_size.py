"""Score against learning rate, per method: the picture to step_size.py. Runs nothing.

python studies/step_size.py && python studies/plot_step_size.py
"""

import sys
from collections.abc import Iterable

from aa_ray import cli, figures, step_size
from aa_ray.figures import Drawing
from aa_ray.finished import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return [figures.learning_rates(results)]


if __name__ == "__main__":
    sys.exit(
        cli.draw(
            __doc__ or "", step_size.METHODS, drawings, sys.argv[1:], adapt=step_size.with_ladder
        )
    )
