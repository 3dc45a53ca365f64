"""The grid of a study: its cells, their dependencies, and what is left to run.

Read ``grid.py`` first, then ``resolve.py`` (from a cell and existing rows to its trial) and
``queue.py``.

May import: ``core``, ``data``, ``store`` and below. Knows neither training nor Ray.
"""
