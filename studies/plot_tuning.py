"""Development score against learning rate, for the tuning seeds of --rates tuned.

The figures show all training runs of each method's sweep over learning rates, the mean with its
interval, chance, how many runs take off (end above chance), and the tuned rate. Test scores are not
used. Draws existing rows, runs nothing. First run another study with --rates tuned.

    python studies/controls.py --last-n 3 --rates tuned
    python studies/plot_tuning.py --last-n 3
"""

import sys
from collections.abc import Iterable

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import rates
from aa_ray.report.results import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return rates.tuning_rates(results)


if __name__ == "__main__":
    sys.exit(
        views.draw(
            __doc__ or "", architectures.EVERY_STUDY, drawings, ["--rates", "tuned", *sys.argv[1:]]
        )
    )
