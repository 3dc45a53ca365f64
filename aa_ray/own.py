"""Custom tasks, architectures and activations: ``from aa_ray import own`` in a file for ``--own``.

A public name, shown in docs/own.md and in the cards of exported adapters; the code is in
``aa_ray.study.plugins``.
"""

from aa_ray.study.plugins import activation, architecture, load, task

__all__ = ["activation", "architecture", "load", "task"]
