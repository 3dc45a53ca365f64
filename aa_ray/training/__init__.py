"""Trains and tests trials on a frozen backbone, one by one or side by side.

Read ``loop.py`` first: it is the paper's section 4. ``engine.py`` defines the interface of an
engine; there are two. ``padded.py`` runs AdapterHub's forward pass. ``side_by_side.py`` is the
fused one, built from ``attention.py``, ``frozen.py`` and ``stacked_adapters.py`` on batches from
``unpadded.py``. Its training steps are in ``stacked_training.py``, with the parameters of
``stacked_parameters.py`` and the Adam of ``optimizers.py``. ``worker.py`` turns outcomes into rows.

May import: ``core``, ``data``, ``store`` and below. Knows neither studies nor Ray.
"""
