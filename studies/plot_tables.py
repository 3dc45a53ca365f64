"""Table 2 as figures: average score by method and regime, and score against adapter parameters.

Averages have 95 % intervals over the seeds. Draws existing rows, runs nothing.

    python studies/table2.py && python studies/plot_tables.py
"""

import sys
from collections.abc import Iterable

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import scores
from aa_ray.report.results import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return [scores.scores(results), scores.score_against_parameters(results)]


if __name__ == "__main__":
    sys.exit(views.draw(__doc__ or "", architectures.TABLE2, drawings, sys.argv[1:]))
