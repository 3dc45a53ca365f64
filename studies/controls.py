"""Does AA-focused win by its activation, by having fewer layers, by which layers, or by its rates?

In addition to AA, Switch-only and AdapterDrop it runs a 2 x 2 design: ReLU and rational adapters in
every layer and in the last N. It also runs rational adapters in as many layers as AA selected,
drawn at random for each seed.

What it costs: the default preset, demo, takes some minutes on two CPU cores. With --rates tuned it
takes about an hour, since each method is tried with six settings and three seeds.

    python studies/controls.py --last-n 3
    python studies/controls.py --last-n 3 --rates tuned
    python studies/controls.py --data DIR --tasks sst2 stsb --regimes 500 \\
        --last-n 3 --seeds 100-119
"""

import functools
import sys

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import paper_tables

if __name__ == "__main__":
    table = functools.partial(paper_tables.method_table, "Controls")
    sys.exit(study.main(__doc__ or "", architectures.CONTROLS, table, sys.argv[1:]))
