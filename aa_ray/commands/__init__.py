"""The command lines and their output. Nothing else in the package prints or reads argv.

Read ``study.py`` first, the command line shared by all scripts in studies/; then ``execution.py``,
which runs a study once the options are known. ``subcommands.py`` lists the commands of ``aa-ray``
and ``python -m aa_ray``; ``trial.py`` is ``run`` and ``export``. ``options.py`` defines options on
the parser of ``parser.py``, ``values.py`` checks their values, and ``from_options.py`` turns them
into studies and resources.

May import everything below. ``study``, ``subcommands`` and their top-level imports must load
quickly: no pyarrow, torch, transformers or Ray (tests/test_start.py checks it).
"""
