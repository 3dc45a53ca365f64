"""Table 3 of the paper: AA-focused^sim on the last N, N-1 and N-2 layers.

What it costs: the default preset, demo, takes a few minutes on two CPU cores, less after table2.py,
whose trials it shares. --preset low-data needs 270 training runs in addition to those of Table 2.

    python studies/table3.py
    python studies/table3.py --data DIR --tasks cola rte --regimes 100 500
    python studies/table3.py --preset low-data --address auto
"""

import functools
import sys

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import paper_tables

if __name__ == "__main__":
    table = functools.partial(paper_tables.method_table, "Table 3")
    sys.exit(study.main(__doc__ or "", architectures.TABLE3, table, sys.argv[1:]))
