"""LUNA16's evaluation: sensitivity at seven numbers of false positives per scan, and their mean, the CPM.

The rules are those of the challenge's own evaluation (Setio et al. 2017, doi:10.1016/j.media.2017.06.015):
a mark hits a nodule when it lies closer to its centre than the nodule's radius; of several hits the best counts and the
others are neither right nor wrong; marks on excluded findings, which have no diameter and count as 10 mm wide, are left
out; of each scan only the 100 most probable marks are looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import InputError
from medseg.metrics.finding import Finding
from medseg.task import Array

FALSE_POSITIVES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # a scan
UNKNOWN_DIAMETER_MM = 10.0
MAX_MARKS = 100


@dataclass(frozen=True)
class Froc:
    """Sensitivity by the number of false positives per scan, its mean, and what it was counted from."""

    sensitivity: Mapping[float, float]
    cpm: float
    scans: int
    nodules: int
    found: int  # nodules that any mark hits
    false: int  # marks that hit nothing


@dataclass(frozen=True)
class Judged:
    """One scan's outcome: the best mark's probability of every nodule that was hit, and every false mark's."""

    nodules: int
    hits: Array
    false: Array


def froc(
    marks: Iterable[Finding], nodules: Iterable[Finding], excluded: Iterable[Finding], series: Sequence[str]
) -> Froc:
    """The FROC of marks (value: probability) against nodules and excluded findings (value: diameter in mm).

    Only scans in `series` count, each of them, with marks or without.
    Raises InputError where there is no scan, or no nodule, to count.
    """
    return counted(judged(marks, nodules, excluded, series))


def judged(
    marks: Iterable[Finding], nodules: Iterable[Finding], excluded: Iterable[Finding], series: Sequence[str]
) -> list[Judged]:
    """Each scan's outcome, in the order of `series`."""
    tables = [_by_series(rows) for rows in (marks, nodules, excluded)]
    return [_judged(*(table[name] for table in tables)) for name in dict.fromkeys(series)]


def counted(scans: Sequence[Judged]) -> Froc:
    """The FROC of these scans together. Raises InputError where there is no scan, or no nodule, to count."""
    total = sum(scan.nodules for scan in scans)
    if not total:
        raise InputError(
            f"{len(scans)} scans hold no annotated nodule; a sensitivity needs at least one: add annotations"
        )
    hits = np.concatenate([scan.hits for scan in scans])
    false = np.concatenate([scan.false for scan in scans])
    rates = np.interp(FALSE_POSITIVES, *_curve(hits, false, len(scans), total))
    sensitivity = dict(zip(FALSE_POSITIVES, rates.tolist(), strict=True))
    return Froc(sensitivity, float(rates.mean()), len(scans), total, len(hits), len(false))


def _by_series(rows: Iterable[Finding]) -> Mapping[str, list[Finding]]:
    table: dict[str, list[Finding]] = defaultdict(list)
    for row in rows:
        table[row.series].append(row)
    return table


def _judged(marks: list[Finding], nodules: list[Finding], excluded: list[Finding]) -> Judged:
    marks = _most_probable(marks)
    places, probabilities = _places(marks), np.array([mark.value for mark in marks])
    on_nodules, on_excluded = _hits(places, nodules), _hits(places, excluded)
    best = [probabilities[column].max() for column in on_nodules.T if column.any()]
    free = ~on_nodules.any(1) & ~on_excluded.any(1)
    return Judged(len(nodules), np.array(best), probabilities[free])


def _most_probable(marks: list[Finding]) -> list[Finding]:
    """The marks above the 101st's probability, as in the challenge's evaluation: marks that tie with it go too."""
    if len(marks) <= MAX_MARKS:
        return marks
    limit = sorted((mark.value for mark in marks), reverse=True)[MAX_MARKS]
    return [mark for mark in marks if mark.value > limit]


def _hits(places: Array, findings: list[Finding]) -> Array:
    """Which mark lies in which finding: (marks, findings) bool."""
    diameters = np.array([row.value if row.value >= 0 else UNKNOWN_DIAMETER_MM for row in findings])
    distances = np.linalg.norm(places[:, None] - _places(findings)[None], axis=2)
    return distances < diameters / 2


def _places(findings: list[Finding]) -> Array:
    return np.array([row.xyz_mm for row in findings], float).reshape(-1, 3)


def _curve(hits: Array, false: Array, scans: int, nodules: int) -> tuple[Array, Array]:
    """False positives a scan and sensitivity, from the highest threshold to the lowest."""
    thresholds = np.unique(np.concatenate([hits, false, [np.inf]]))[::-1]
    hit = len(hits) - np.searchsorted(np.sort(hits), thresholds)
    wrong = len(false) - np.searchsorted(np.sort(false), thresholds)
    return wrong / scans, hit / nodules
