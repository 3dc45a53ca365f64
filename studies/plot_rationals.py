"""The learned rational activations per task and layer (paper, Figure 3).

Solid: the function that AA learned with the first seed, at the best epoch. Dashed: its initial
function. Grey: the distribution of its inputs. Layers whose switch chose the identity are marked.
Draws existing rows, runs nothing.

    python studies/table2.py && python studies/plot_rationals.py
"""

import itertools
import sys
from collections.abc import Iterable

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import activations
from aa_ray.report.results import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return itertools.chain(*(activations.rationals(results, r) for r in results.study.regimes))


if __name__ == "__main__":
    sys.exit(views.draw(__doc__ or "", architectures.TABLE2, drawings, sys.argv[1:]))
