"""Fuzz tests: any option and any file gives the right result or a one-line error."""
