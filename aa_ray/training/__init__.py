"""Trains and tests trials on a frozen backbone, one by one or side by side.

Read ``loop.py`` first: the paper's section 4. ``side_by_side.py`` is the forward pass,
``worker.py`` turns outcomes into rows.

May import: ``core``, ``data``, ``store`` and below. Knows neither studies nor Ray.
"""
