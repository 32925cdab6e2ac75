"""The UW-Madison competition's score: 0.4 Dice + 0.6 (1 - normalised 3D Hausdorff distance)."""

from __future__ import annotations

import math

import numpy as np

from medseg.metrics.hausdorff import hausdorff
from medseg.metrics.overlap import dice
from medseg.task import Array

DICE_SHARE, HAUSDORFF_SHARE = 0.4, 0.6


def hausdorff_share(answer: Array, truth: Array) -> float:
    """The 3D Hausdorff distance of one organ's masks (slice, row, col) with places given as shares of the scan: 0 to 1.

    Places along each axis run from 0 to 1, and the longest distance, from corner to corner, counts as 1; so the real
    spacing has no part in it. Two empty masks are 0 apart; where just one is empty, the distance is 1.
    """
    spacing = [1 / size for size in truth.shape]
    return hausdorff(answer, truth, spacing) / math.sqrt(truth.ndim)


def mean_dice(answer: Array, truth: Array) -> float:
    """The mean over slices of one organ's Dice, of the slices where truth or answer has any; 1 where none has."""
    there = (answer != 0).any((1, 2)) | (truth != 0).any((1, 2))
    scores = [dice(one, other) for one, other in zip(answer[there], truth[there], strict=True)]
    return float(np.mean(scores)) if scores else 1.0


def uw_madison(answer: Array, truth: Array) -> dict[str, float]:
    """A scan's score and its two parts, the mean over organs; masks (organ, slice, row, col)."""
    organs = list(zip(answer, truth, strict=True))
    overlap = float(np.mean([mean_dice(one, other) for one, other in organs]))
    distance = float(np.mean([hausdorff_share(one, other) for one, other in organs]))
    score = DICE_SHARE * overlap + HAUSDORFF_SHARE * (1 - distance)
    return {"score": score, "dice": overlap, "hausdorff": distance}
