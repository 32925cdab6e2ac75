"""How far a FROC could be off by the choice of its scans: 95 % intervals from resampled scans, as LUNA16's script has.

A resample draws as many scans as there are, with replacement; the interval runs from the 26th to the 976th of 1,000
sorted values. The script draws by chance alone; here the draw is seeded, so the same marks have the same intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.metrics.froc import FALSE_POSITIVES, Judged
from medseg.task import Array

RESAMPLES = 1000
_OUTSIDE = 0.025  # of the resamples, on either side
_AT_ONCE = 50  # resamples whose curves exist together

Band = tuple[float, float]


@dataclass(frozen=True)
class Bands:
    """The intervals of the sensitivities, by the number of false positives per scan, and of their mean, the CPM."""

    sensitivity: Mapping[float, Band]
    cpm: Band


@dataclass(frozen=True)
class _Marks:
    """All scans' marks from the most probable to the least: each one's scan, and whether it hits a nodule."""

    scan: Array
    hit: Array
    last: Array  # the places where a run of equal probabilities ends: a threshold never parts them


def bands(scans: Sequence[Judged]) -> Bands | None:
    """The intervals of these scans' FROC; None where a lone scan, or no nodule, leaves nothing to resample."""
    if len(scans) < 2:
        return None
    nodules, drawn = np.array([scan.nodules for scan in scans], np.int32), _draws(len(scans))
    drawn = drawn[drawn @ nodules > 0]
    if not len(drawn):
        return None
    marks = _needed(_marks(scans), drawn)
    parts = [drawn[start : start + _AT_ONCE] for start in range(0, len(drawn), _AT_ONCE)]
    rates = np.concatenate([_rates(part, marks, nodules) for part in parts])
    by_rate = zip(FALSE_POSITIVES, rates.T, strict=True)
    return Bands({rate: _band(values) for rate, values in by_rate}, _band(rates.mean(1)))


def _draws(scans: int) -> Array:
    """How often each scan was drawn, (resamples, scans)."""
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(scans, size=scans), minlength=scans) for _ in range(RESAMPLES)]
    return np.array(draws, np.int32)


def _marks(scans: Sequence[Judged]) -> _Marks:
    found = [(index, part, hit) for index, scan in enumerate(scans) for part, hit in ((scan.hits, 1), (scan.false, 0))]
    probability = np.concatenate([part for _, part, _ in found])
    order = np.argsort(-probability, kind="stable")
    scan, hit = (np.concatenate([np.full(len(one[1]), one[which]) for one in found])[order] for which in (0, 2))
    return _Marks(scan, hit.astype(bool), np.flatnonzero(np.diff(probability[order], append=np.inf)))


def _needed(marks: _Marks, drawn: Array) -> _Marks:
    """The first marks, with which every resample has more false positives than are looked at, or all there are."""
    scans = drawn.shape[1]
    wanted = round(scans * max(FALSE_POSITIVES))
    count = 2 * wanted
    while count < len(marks.scan):
        end = marks.last[np.searchsorted(marks.last, count)] + 1
        false = np.bincount(marks.scan[:end][~marks.hit[:end]], minlength=scans)
        if (drawn @ false).min() > wanted:
            return _Marks(marks.scan[:end], marks.hit[:end], marks.last[marks.last < end])
        count *= 2
    return marks


def _rates(drawn: Array, marks: _Marks, nodules: Array) -> Array:
    """The sensitivity at every number of false positives per scan, (resamples, 7)."""
    weights = drawn[:, marks.scan]
    wrong, right = (_cumulated(weights * one, marks.last) for one in (~marks.hit, marks.hit))
    curves = zip(wrong / drawn.shape[1], right / (drawn @ nodules)[:, np.newaxis], strict=True)
    return np.array([np.interp(FALSE_POSITIVES, *curve) for curve in curves])


def _cumulated(weights: Array, last: Array) -> Array:
    """The running sums at those places, from 0 on."""
    return np.pad(np.cumsum(weights, axis=1, dtype=np.int32)[:, last], ((0, 0), (1, 0)))


def _band(values: Array) -> Band:
    ordered = np.sort(values)
    low, high = (ordered[int(share * len(ordered))] for share in (_OUTSIDE, 1 - _OUTSIDE))
    return float(low), float(high)
