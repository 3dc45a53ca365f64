"""Runs a study on a machine or cluster with Ray Tune. Only this folder imports ray.

Read ``tune.py`` first, then ``searcher.py``, which hands trials to Tune, and ``actor.py``, the
process that runs them; ``messages.py`` defines what the two exchange.

May import: ``study``, ``training`` and below. Knows no tables or figures.
"""
