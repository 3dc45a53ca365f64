"""Computes paired differences from the scores of two lines in a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aa_ray.report.statistics import Share, Stratum


class Run(NamedTuple):
    """One training run in a cell.

    Attributes:
        score: the test metric x 100.
        took_off: whether it is above chance; None if that is not known.
    """

    score: float
    took_off: bool | None = None


# Seed -> run.
Runs = Mapping[int, Run]


def stratum(*pairs: tuple[Runs, Runs], weights: Sequence[float] = (1.0, -1.0)) -> Stratum:
    """The differences first minus second of a cell, for the seeds that all lines have.

    Several pairs are combined into a weighted sum by seed. The default weights give the difference
    of two differences: how an advantage changes from one policy to another.
    """
    seeds = [seed for seed in pairs[0][0] if all(seed in runs for pair in pairs for runs in pair)]
    if not seeds:
        return Stratum(())
    values, rest = np.zeros(len(seeds)), np.zeros(len(seeds))
    shares: list[Share] = []
    for weight, pair in zip(weights, pairs, strict=False):
        ours, theirs = ([runs[seed] for seed in seeds] for runs in pair)
        difference = np.array([a.score - b.score for a, b in zip(ours, theirs, strict=True)])
        values += weight * difference
        rest += weight * difference
        gap = _gap([*ours, *theirs])
        for points, runs in ((weight, ours), (-weight, theirs)) if gap is not None else ():
            took_off = np.array([bool(run.took_off) for run in runs])
            shares.append(Share(int(took_off.sum()), len(seeds), points * (gap or 0.0)))
            rest -= points * (gap or 0.0) * took_off
    return Stratum(tuple(values.tolist()), tuple(shares), tuple(rest.tolist()) if shares else ())


def _gap(runs: list[Run]) -> float | None:
    """Mean score of the runs that took off minus that of the others; None unless both exist."""
    if any(run.took_off is None for run in runs):
        return None
    scores = {kind: [run.score for run in runs if run.took_off is kind] for kind in (True, False)}
    if not (scores[True] and scores[False]):
        return None
    return float(np.mean(scores[True]) - np.mean(scores[False]))
