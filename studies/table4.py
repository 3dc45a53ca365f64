"""Table 4 of the paper: what the switch and the rational each contribute.

What it costs: the default preset, demo, takes a few minutes on two CPU cores, less after table2.py,
whose trials it shares. --preset low-data needs 405 training runs in addition to those of Table 2.

    python studies/table4.py
    python studies/table4.py --data DIR --tasks cola rte --regimes 100 500
    python studies/table4.py --preset low-data --address auto
"""

import functools
import sys

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import paper_tables

if __name__ == "__main__":
    table = functools.partial(paper_tables.method_table, "Table 4")
    sys.exit(study.main(__doc__ or "", architectures.TABLE4, table, sys.argv[1:]))
