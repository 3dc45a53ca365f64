"""What a person types, and what is printed. Nothing else in the package prints or reads argv.

Read ``study.py`` first: the command line that every script in studies/ shares. ``trial.py`` is
``python -m aa_ray run`` and ``export``.

May import everything below.
"""
