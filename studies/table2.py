"""Table 2 of the paper: Baseline, AdapterDrop, AA and the three AA-focused architectures.

What it costs: the default preset, demo, takes a few minutes on two CPU cores and needs no network.
The paper's own table, --preset paper, needs about 860 training runs of BERT-large, and GPUs.

    python studies/table2.py
    python studies/table2.py --data DIR --tasks cola rte --regimes 100 500
    python studies/table2.py --preset paper --address auto

Run it again after an interruption: it continues. A finished study only prints its table.
"""

import functools
import sys

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import paper_tables

if __name__ == "__main__":
    table = functools.partial(paper_tables.method_table, "Table 2")
    sys.exit(study.main(__doc__ or "", architectures.TABLE2, table, sys.argv[1:]))
