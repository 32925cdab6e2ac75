"""The UW-Madison competition's score, 0.4 Dice + 0.6 (1 - 3D Hausdorff distance), pooled as its public grader does.

The grader is that of mle-bench, for Kaggle's own is not public. Its rule, also in docs/metrics.md:
Dice is the mean over all pairs of a slice and an organ, of all scans together, that the answer or the truth outlines.
The distance is the mean over scans of one distance each, between the answer's and the truth's organs taken together;
it counts as 1 where just one of them is empty, and where the answer is more than ten times as large as the truth.
What neither outlines, a pair or a scan, is left out of its mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from medseg.metrics.hausdorff import between_voxels
from medseg.metrics.overlap import dice
from medseg.metrics.shape import check_shapes
from medseg.scoring import Mean
from medseg.task import Array

DICE_SHARE, HAUSDORFF_SHARE = 0.4, 0.6
TOO_LARGE = 10  # times the truth, beyond which an answer is as far as can be
RESAMPLES = 1000


def uw_madison(answer: Array, truth: Array) -> dict[str, float]:
    """One scan's score by the grader's rule, with its two parts; masks (organ, slice, row, col).

    Empty where neither outlines anything: the grader leaves such a scan out. Raises InputError where the shapes differ.
    """
    pairs = outlined(answer, truth)
    if not pairs:
        return {}
    overlap, distance = float(np.mean(pairs)), union_distance(answer, truth)
    return {"score": mixed(overlap, distance), "dice": overlap, "hausdorff": distance}


def outlined(answer: Array, truth: Array) -> list[float]:
    """The Dice of every pair of an organ and a slice that the answer or the truth outlines."""
    check_shapes(answer, truth)
    there = (answer != 0).any((2, 3)) | (truth != 0).any((2, 3))
    return [dice(one, other) for one, other in zip(answer[there], truth[there], strict=True)]


def pooled(scans: Mapping[str, Mapping[str, float]]) -> dict[str, Mean]:
    """The score of all scans together and its parts, from each scan's own, with 95 % intervals over the scans.

    A scan has `dice`, `hausdorff` and `outlined`, the number of pairs that its Dice is the mean of. Empty where no scan
    outlines anything.
    """
    known = [scan for scan in scans.values() if scan.get("outlined")]
    if not known:
        return {}
    table = np.array([[scan["dice"], scan["outlined"], scan["hausdorff"]] for scan in known])
    drawn = np.random.default_rng(0).integers(len(known), size=(RESAMPLES, len(known)))
    middle, spread = _pool(table[np.newaxis]), _pool(table[drawn])
    ends = np.percentile(spread, (2.5, 97.5), axis=1) if len(known) > 1 else None
    return {
        name: Mean(
            float(middle[row, 0]),
            None if ends is None else float(ends[0, row]),
            None if ends is None else float(ends[1, row]),
            len(known),
        )
        for row, name in enumerate(("score", "dice", "hausdorff"))
    }


def mixed(overlap: float, distance: float) -> float:
    """The score of a Dice and a distance, both 0 to 1."""
    return DICE_SHARE * overlap + HAUSDORFF_SHARE * (1 - distance)


def union_distance(answer: Array, truth: Array) -> float:
    """The distance between all organs of the answer and of the truth taken together; masks (organ, slice, row, col)."""
    found, there = (answer != 0).any(0), (truth != 0).any(0)
    if np.count_nonzero(found) > TOO_LARGE * np.count_nonzero(there):
        return 1.0
    return hausdorff_share(found, there)


def hausdorff_share(answer: Array, truth: Array) -> float:
    """The 3D Hausdorff distance of two masks (slice, row, col) with places given as shares of the scan: 0 to 1.

    It is scipy's `directed_hausdorff` over every voxel, the larger direction. Places along each axis run from 0 to 1,
    and the longest distance, from corner to corner, counts as 1; so the real spacing has no part in it. Two empty
    masks are 0 apart; where just one is empty, the distance is 1.
    """
    spacing = [1 / size for size in truth.shape]
    return between_voxels(answer, truth, spacing).percentile(100) / math.sqrt(truth.ndim)


def organ_score(answer: Array, truth: Array) -> float:
    """One scan's score with each organ by itself, the mean over organs: it falls where organs are taken for each other.

    The masks are (organ, slice, row, col). An organ's Dice is the mean over the slices where it is outlined.
    """
    organs = list(zip(answer, truth, strict=True))
    overlap = [float(np.mean(outlined(one[np.newaxis], other[np.newaxis]) or [1.0])) for one, other in organs]
    distance = [hausdorff_share(one, other) for one, other in organs]
    return mixed(float(np.mean(overlap)), float(np.mean(distance)))


def _pool(scans: Array) -> Array:
    """Score, Dice and distance (3, n) of n sets of scans (n, scans, 3): each one's Dice, pairs and distance."""
    overlap = (scans[..., 0] * scans[..., 1]).sum(1) / scans[..., 1].sum(1)
    distance = scans[..., 2].mean(1)
    return np.stack([DICE_SHARE * overlap + HAUSDORFF_SHARE * (1 - distance), overlap, distance])
