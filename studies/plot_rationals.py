"""The learned rational activations per task and layer (paper, Figure 3).

Solid: what AA learned with the first seed, at the best epoch; dashed: the function it started
from; grey: the inputs that it saw; layers whose switch chose the identity are marked. Drawn from
rows, runs nothing.

    python studies/table2.py && python studies/plot_rationals.py
"""

import itertools
import sys
from collections.abc import Iterable

from aa_ray import architectures, cli, figures
from aa_ray.figures import Drawing
from aa_ray.finished import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return itertools.chain(*(figures.rationals(results, r) for r in results.study.regimes))


if __name__ == "__main__":
    sys.exit(cli.draw(__doc__ or "", architectures.TABLE2, drawings, sys.argv[1:]))
