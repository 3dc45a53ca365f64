"""Figures from the rows of a study. Each draws existing rows and reports what is missing.

A figure is a pure function of ``Results``, or of the results under several policies. It is made in
two steps: first the numbers as plain data, then the drawing. The table behind the figure comes from
the same data. ``activations``, ``layers``, ``scores``, ``rates``, ``status`` and ``effects`` each
draw what their name says.
"""
