"""A simulator of the sweep: the real code of a study's drivers and workers in one process.

Injected are time (``world.py``), processes (``world.py``), the disk (``disk.py``) or the object
store (``objects.py``) of the results folder, Ray's calls (``ray.py``) and the training
(``training.py``). Everything else is the code that runs in earnest: the command of a study, the
searcher, the queue, leases, rows, checkpoints, the actor.

``simulation.py`` is where to begin; ``plan.py`` says what a seed decides, ``check.py`` what must
hold, ``mutations.py`` what it notices. ``python -m tests.simulator --seeds 0-999`` runs it.
"""
