"""The comparisons behind the paper's claims, cell by cell, from existing rows. Runs nothing.

For each comparison of two methods it prints the average difference, the average without each task,
and a line for each task and regime: interval, share of the variance, what the methods have learned,
and how often their training runs take off (end above chance). First run table2.py, table3.py and
table4.py with the same options.

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
