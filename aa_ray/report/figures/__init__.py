"""Figures from the rows of a study. Each draws what there is and says what is missing.

Every figure is a pure function of ``Results``, or of the results under several policies. It is made
in two steps: the numbers, as plain data, then the drawing of them; the same data makes the table
behind the figure. ``activations``, ``layers``, ``scores``, ``rates``, ``status`` and ``effects``
each draw what they are named for.
"""
