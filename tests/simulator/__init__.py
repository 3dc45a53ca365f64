"""A simulator of the sweep that runs the real code of drivers and workers in one process.

The simulator replaces time and processes (``world.py``), the disk (``disk.py``) or object store
(``objects.py``) of the results folder, Ray's calls (``ray.py``) and training (``training.py``).
Everything else is the real code: a study's command, the searcher, the queue, leases, rows,
checkpoints and the actor.

Start reading with ``simulation.py``. ``plan.py`` derives a plan from a seed, ``check.py`` states
what must hold, and ``mutations.py`` lists what the simulator detects. Run it with
``python -m tests.simulator --seeds 0-999``.
"""
