"""Rows for analysis: ``aa_ray.results.read("results")``, as the documentation shows it.

This is the public path; the code is in ``aa_ray.store.rows``.
"""

from aa_ray.store.rows import read
from aa_ray.store.schema import COLUMNS, SCHEMA

__all__ = ["COLUMNS", "SCHEMA", "read"]
