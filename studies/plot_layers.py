"""Which layers AA selected, per task and regime, over the seeds. Drawn from rows, runs nothing.

python studies/table2.py && python studies/plot_layers.py
"""

import sys
from collections.abc import Iterable

from aa_ray import architectures, cli, figures
from aa_ray.figures import Drawing
from aa_ray.finished import Results


def drawings(results: Results) -> Iterable[Drawing]:
    return [figures.layers(results)]


if __name__ == "__main__":
    sys.exit(cli.draw(__doc__ or "", architectures.TABLE2, drawings, sys.argv[1:]))
