"""Accuracy: scores over the cases with bootstrap intervals, and paired differences between targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from medseg.task import Array

RESAMPLES = 2000

Scores = Mapping[str, Mapping[str, float]]  # case -> metric -> value


def summary(scores: Scores) -> dict[str, dict[str, Any]]:
    """Each metric's mean over the cases with its 95 % bootstrap interval; with one case there is no interval."""
    return {name: interval(np.array(list(_of(scores, name).values()))) for name in _names(scores)}


def differences(scores: Scores, reference: Scores) -> dict[str, dict[str, Any]]:
    """Each metric's mean difference to a reference on the same cases, with its interval, paired by case."""
    found = {}
    for name in _names(scores):
        ours, theirs = _of(scores, name), _of(reference, name)
        cases = [case for case in ours if case in theirs]
        if cases:
            found[name] = interval(np.array([ours[case] - theirs[case] for case in cases]))
    return found


def worst(scores: Scores, metric: str, count: int) -> list[str]:
    """The cases with the lowest values, lowest first."""
    return sorted(_of(scores, metric), key=lambda case: scores[case][metric])[:count]


def interval(values: Array) -> dict[str, Any]:
    """Mean, percentile-bootstrap interval of the mean over the cases (None for fewer than two), and their number."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None, "cases": len(values)}
    band = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0).confidence_interval
    return {"mean": mean, "low": float(band.low), "high": float(band.high), "cases": len(values)}


def _names(scores: Scores) -> Sequence[str]:
    return list(dict.fromkeys(name for found in scores.values() for name in found))


def _of(scores: Scores, metric: str) -> dict[str, float]:
    return {case: found[metric] for case, found in scores.items() if metric in found and np.isfinite(found[metric])}
