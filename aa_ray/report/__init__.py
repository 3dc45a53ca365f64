"""Rows in; tables, statistics, verdicts, figures and the HTML page out.

Read ``results.py`` first: a study's rows, found by line, task, regime and seed. Every table, figure
and verdict is a function of them.

May import: ``study``, ``training`` and below. Never imports ``sweep``: tables need no Ray.
"""
