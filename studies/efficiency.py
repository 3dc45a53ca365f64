"""Claim C13: parameters, storage, training and inference time of AA-focused against Baseline.

It measures the architectures of studies/table2.py side by side on this machine, for the first task
and regime. It needs the rows of table2.py with the same options, and takes a minute.

    python studies/table2.py && python studies/efficiency.py
"""

import sys

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report import efficiency

if __name__ == "__main__":
    sys.exit(views.show(__doc__ or "", architectures.EFFICIENCY, efficiency.table, sys.argv[1:]))
