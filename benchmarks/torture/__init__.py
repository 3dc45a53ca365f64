"""Studies that are disturbed while they run; see ``benchmarks/resilience.py``."""
