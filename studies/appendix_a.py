"""Appendix A of the paper: Table 2 for BERT-base.

What it costs: the default preset, demo, is that of table2.py and shares its trials. --preset paper
needs about 860 training runs of bert-base-uncased, and GPUs.

    python studies/appendix_a.py --preset low-data
    python studies/appendix_a.py --preset paper --address auto \\
        --results /shared/results
"""

import functools
import sys

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import paper_tables

if __name__ == "__main__":
    table = functools.partial(paper_tables.method_table, "Appendix A")
    arguments = sys.argv[1:]
    sys.exit(study.main(__doc__ or "", architectures.TABLE2, table, arguments, "bert-base-uncased"))
