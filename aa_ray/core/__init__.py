"""The paper's method on AdapterHub: rational, switch, adapter; architectures and deviations.

Read ``adapter.py`` first: the adaptable adapter as the paper's section 3 describes it. Then
``architectures.py``, the methods as data.

May import: ``aa_ray.trial``, ``aa_ray.errors``. Knows no tasks, rows, training loop or Ray.
"""
