"""A map of which methods have learned which tasks and regimes. Look at it before any score.

Learned: the mean test score is above chance by more than three standard errors of the test set,
and the models give more than one answer. It is drawn under the released rates and under those of
--rates if these have rows. Draws existing rows, runs nothing.

    python studies/table2.py && python studies/plot_status.py
    python studies/plot_status.py --rates tuned --data DIR --tasks sst2 stsb \\
        --regimes 500
"""

import sys
from collections.abc import Iterable, Mapping

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import status
from aa_ray.report.results import Results


def drawings(policies: Mapping[str, Results]) -> Iterable[Drawing]:
    return [status.status_map(policies)]


if __name__ == "__main__":
    sys.exit(views.draw_policies(__doc__ or "", architectures.EVERY_STUDY, drawings, sys.argv[1:]))
