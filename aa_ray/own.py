"""Custom tasks, architectures and activations: ``from aa_ray import own`` in a file for ``--own``.

This is the public path that docs/own.md and the cards of exported adapters show; the code is in
``aa_ray.study.plugins``.
"""

from aa_ray.study.plugins import activation, architecture, load, task

__all__ = ["activation", "architecture", "load", "task"]
