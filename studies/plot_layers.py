"""Which layers AA selected, by task and regime, and how often, compared with random selections.

Grey: the range of 95 % of random sets of the same sizes. Draws existing rows, runs nothing.

    python studies/table2.py && python studies/plot_layers.py
"""

import sys
from collections.abc import Iterable

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import layers
from aa_ray.report.results import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return layers.layers(results)


if __name__ == "__main__":
    sys.exit(views.draw(__doc__ or "", architectures.TABLE2, drawings, sys.argv[1:]))
