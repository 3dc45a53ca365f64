"""Rows for analysis: ``aa_ray.results.read("results")``, as the documentation shows it.

A public name; the code is in ``aa_ray.store.rows``.
"""

from aa_ray.store.rows import COLUMNS, SCHEMA, read

__all__ = ["COLUMNS", "SCHEMA", "read"]
