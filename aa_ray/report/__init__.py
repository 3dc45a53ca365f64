"""Rows in; tables, statistics, verdicts, figures and the HTML page out.

Read ``results.py`` first: it finds a study's rows by line, task, regime and seed. All tables,
figures and verdicts are functions of these results.

May import: ``study``, ``training`` and below. Never imports ``sweep``: tables need no Ray.
"""
