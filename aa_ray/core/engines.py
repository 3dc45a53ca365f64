"""The two ways to compute a trial, which agree up to rounding, and which of them applies.

``fused``: batches without padding, and trials side by side in one pass; see
``aa_ray.training.side_by_side``. For adaptable adapters on BERT and on models with BERT's layers.

``adapterhub``: AdapterHub's own forward pass, on padded batches; see ``aa_ray.training.padded``.
For every adapter that AdapterHub has, on every encoder it adapts.

Like the device, the engine is no part of a trial's identity. It decides which random numbers of
dropout a trial gets, as the device does. A column of the row says which it was.
"""

from aa_ray.core.backbones import Backbone
from aa_ray.errors import UsageError

AUTO, FUSED, ADAPTERHUB = "auto", "fused", "adapterhub"
ENGINES = (AUTO, FUSED, ADAPTERHUB)


def engine_for(wanted: str, backbone: Backbone, configuration: str = "") -> str:
    """The engine that computes trials on the backbone: ``FUSED`` or ``ADAPTERHUB``.

    Args:
        wanted: one of ``ENGINES``; ``AUTO`` takes ``FUSED`` where it applies.
        configuration: the field of that name of ``Trial``.

    Raises:
        UsageError: ``FUSED`` is wanted and does not apply.
    """
    if wanted == FUSED and not backbone.fused:
        raise UsageError(
            f"--engine fused: {backbone.identity} does not have BERT's layers, which this engine "
            "computes; use auto or adapterhub"
        )
    if wanted == FUSED and configuration:
        raise UsageError(
            f"--engine fused: it computes adaptable adapters only, not {configuration}; use auto "
            "or adapterhub"
        )
    if wanted == AUTO:
        return FUSED if backbone.fused and not configuration else ADAPTERHUB
    return wanted
