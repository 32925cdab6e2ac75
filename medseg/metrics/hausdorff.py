"""How far apart the borders of two masks lie, in the unit of the spacing.

A border pixel is one with a neighbour, along an axis, that is background or outside of the picture, as in MONAI.
Empty masks: two are 0 apart; where just one is empty, the distance is the picture's diagonal, the longest there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medseg.task import Array


def hausdorff(answer: Array, truth: Array, spacing: Sequence[float], percentile: float = 100) -> float:
    """The Hausdorff distance of two masks of one shape; with percentile 95 the robust HD95.

    It is the larger of the two directed distances, each the percentile over one border of the distance to the other.
    """
    assert answer.shape == truth.shape, f"answer {answer.shape} and truth {truth.shape} differ in shape"
    found, there = answer != 0, truth != 0
    if not found.any() or not there.any():
        return diagonal(answer.shape, spacing) if found.any() or there.any() else 0.0
    box = ndimage.find_objects((found | there).astype(np.uint8))[0]  # nothing outside of it is on a border
    borders = [_border(mask[box]) for mask in (found, there)]
    directed = [_percentile(one, other, spacing, percentile) for one, other in (borders, borders[::-1])]
    return max(directed)


def hd95(answer: Array, truth: Array, spacing: Sequence[float]) -> float:
    """The 95th percentile Hausdorff distance of two masks, in the unit of the spacing."""
    return hausdorff(answer, truth, spacing, 95)


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """The distance from one corner of a picture or volume to the opposite one."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing)))


def _border(mask: Array) -> Array:
    return mask & ~ndimage.binary_erosion(mask)


def _percentile(one: Array, other: Array, spacing: Sequence[float], percentile: float) -> float:
    distances = ndimage.distance_transform_edt(~other, sampling=spacing)
    return float(np.percentile(distances[one], percentile))
