"""The comparisons behind the paper's claims, cell by cell, from existing rows. Runs nothing.

For each comparison of two methods: the average difference, what it is without each task, and every
task and regime by itself, with intervals, shares of the variance, what the methods have learned
there, and how often their training runs take off. Run table2.py, table3.py and table4.py first,
with the same options.

    python studies/cells.py
    python studies/cells.py --data DIR --tasks cola rte --regimes 100 500 \\
        --format markdown
"""

import sys

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report import cells_table

if __name__ == "__main__":
    sys.exit(views.judge(__doc__ or "", architectures.ALL_TABLES, cells_table.table, sys.argv[1:]))
