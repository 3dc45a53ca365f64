"""What is kept: rows in Parquet, files in folders and object stores, leases, provenance.

Read ``schema.py`` first: a row, column by column; then ``rows.py``, the files that hold them.

May import: ``aa_ray.trial``, ``aa_ray.errors``.
"""
