"""aa_ray: a Ray-distributed reproduction of "Adaptable Adapters" (Moosavi et al., NAACL 2022).

Importing the package registers the rational activation with AdapterHub; see
``aa_ray.core.rational``.
"""

import os

# The hub's client warns of each of its retries; what came of them is one line of ours.
os.environ.setdefault("HF_HUB_VERBOSITY", "error")

from aa_ray.core import heads
from aa_ray.core.rational import Rational, register

register()
heads.register()

__all__ = ["Rational"]
__version__ = "0.1.0"
