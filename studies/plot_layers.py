"""Which layers AA selected, per task and regime, over the seeds. Drawn from rows, runs nothing.

    python studies/table2.py && python studies/plot_layers.py

Needs the rows of table2.py, run with the same options.
"""

import sys
from collections.abc import Iterable

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import figures
from aa_ray.report.drawing import Drawing
from aa_ray.report.results import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return [figures.layers(results)]


if __name__ == "__main__":
    sys.exit(study.draw(__doc__ or "", architectures.TABLE2, drawings, sys.argv[1:]))
