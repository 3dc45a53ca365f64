"""What is kept: rows in Parquet, files in folders and object stores, leases, provenance.

Read ``rows.py`` first: the schema of a row, column by column.

May import: ``aa_ray.trial``, ``aa_ray.errors``.
"""
