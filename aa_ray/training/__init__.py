"""Trains and tests trials on a frozen backbone, one by one or side by side.

Read ``loop.py`` first: the paper's section 4. ``engine.py`` says what it asks of an engine.
``padded.py`` is the one that runs AdapterHub's own forward pass. ``side_by_side.py`` is the fused
one, made of ``attention.py``, ``frozen.py`` and ``stacked_adapters.py`` on the batches of
``unpadded.py``; ``stacked_training.py`` takes its training steps, on the parameters of
``stacked_parameters.py`` with the Adam of ``optimizers.py``.
``worker.py`` turns outcomes into rows.

May import: ``core``, ``data``, ``store`` and below. Knows neither studies nor Ray.
"""
