"""What a person types, and what is printed. Nothing else in the package prints or reads argv.

Read ``study.py`` first: the command line that every script in studies/ shares; ``execution.py`` is
what follows once the options are known. ``subcommands.py`` lists those of ``python -m aa_ray``;
``trial.py`` is ``run`` and ``export``. Options are in ``options.py``, on the parser of
``parser.py``; their kinds of values are in ``values.py``, and ``from_options.py`` makes studies and
resources of them.

May import everything below. ``study``, ``subcommands`` and what they import at their top must start
quickly: no pyarrow, torch, transformers or Ray (tests/test_start.py checks it).
"""
