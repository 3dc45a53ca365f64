"""Storage: rows in Parquet, files in folders and object stores, leases, provenance.

Read ``schema.py`` first, the columns of a row; then ``rows.py``, the files that hold the rows.

May import: ``aa_ray.trial``, ``aa_ray.errors``.
"""
