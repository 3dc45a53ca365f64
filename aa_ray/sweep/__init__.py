"""Ray Tune runs a study over a machine or cluster. Nothing else in the package imports ray.

Read ``tune.py`` first, then ``searcher.py``, which hands Tune the trials, and ``actor.py``, the
process that runs them; ``messages.py`` is what the two tell each other.

May import: ``study``, ``training`` and below. Knows no tables or figures.
"""
