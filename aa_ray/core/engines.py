"""The two engines that compute a trial, and which of them applies. They agree up to rounding.

``fused``: batches without padding, and trials side by side in one pass; see
``aa_ray.training.side_by_side``. For adaptable adapters on BERT and on models with BERT's layers.

``adapterhub``: AdapterHub's own forward pass, on padded batches; see ``aa_ray.training.padded``.
For every type of adapter and every encoder that AdapterHub supports.

Like the device, the engine is not part of a trial's identity, although both decide which random
numbers dropout draws. A column of the row names the engine.
"""

from aa_ray.core.backbones import Backbone
from aa_ray.errors import UsageError

AUTO, FUSED, ADAPTERHUB = "auto", "fused", "adapterhub"
ENGINES = (AUTO, FUSED, ADAPTERHUB)


def engine_for(wanted: str, backbone: Backbone, configuration: str = "") -> str:
    """The engine that computes trials on the backbone: ``FUSED`` or ``ADAPTERHUB``.

    Args:
        wanted: one of ``ENGINES``; ``AUTO`` selects ``FUSED`` where it applies.
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
