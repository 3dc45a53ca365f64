"""Tasks and their examples: GLUE, custom files, generated sentences; splits and tokenised batches.

Read ``tasks.py`` first, then ``glue.py``: where examples come from and how a regime splits them.

May import: ``aa_ray.trial``, ``aa_ray.errors``. Knows no model.
"""
