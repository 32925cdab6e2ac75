"""Means of scores over the cases with bootstrap intervals, and paired differences between who answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from medseg.scoring import Mean
from medseg.tensor import Array

RESAMPLES = 2000

Scores = Mapping[str, Mapping[str, float]]  # case -> score -> value


def means(scores: Scores) -> dict[str, Mean]:
    """Each score's mean over the cases that have it with its 95 % bootstrap interval."""
    return {name: interval(np.array(list(_of(scores, name).values()))) for name in _names(scores)}


def differences(scores: Scores, reference: Scores) -> dict[str, Mean]:
    """Each score's mean difference to a reference on the same cases, with its interval, paired by case."""
    found = {}
    for name in _names(scores):
        ours, theirs = _of(scores, name), _of(reference, name)
        cases = [case for case in ours if case in theirs]
        if cases:
            found[name] = interval(np.array([ours[case] - theirs[case] for case in cases]))
    return found


def worst(scores: Scores, name: str, count: int) -> list[str]:
    """The cases with the lowest values, lowest first."""
    return sorted(_of(scores, name), key=lambda case: scores[case][name])[:count]


def interval(values: Array) -> Mean:
    """Mean, percentile-bootstrap interval of the mean over the cases (none for fewer than two), and their number."""
    mean = float(values.mean())
    if len(values) < 2:
        return Mean(mean, None, None, len(values))
    band = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return Mean(mean, float(band.low), float(band.high), len(values))


def _names(scores: Scores) -> Sequence[str]:
    return list(dict.fromkeys(name for found in scores.values() for name in found))


def _of(scores: Scores, name: str) -> dict[str, float]:
    return {case: found[name] for case, found in scores.items() if name in found and np.isfinite(found[name])}
