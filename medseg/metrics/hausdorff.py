"""How far apart two masks lie, in the unit of the spacing. Defined in docs/metrics.md.

A border pixel is one with a neighbour, along an axis, that is background or outside of the picture, as in MONAI.
Empty masks: two are 0 apart; where just one is empty, the distance is the picture's diagonal, the longest there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from medseg.metrics.distance import nearest
from medseg.metrics.shape import check_shapes
from medseg.task import Array


@dataclass(frozen=True)
class Distances:
    """The distances from every voxel of one set to the other set, in both directions; none is empty."""

    from_answer: Array
    from_truth: Array

    def percentile(self, percent: float) -> float:
        """The larger of the two directed percentiles; of 100, the Hausdorff distance."""
        return max(float(np.percentile(one, percent)) for one in (self.from_answer, self.from_truth))

    @property
    def mean(self) -> float:
        """The mean over both directions' distances together."""
        return float(np.concatenate([self.from_answer, self.from_truth]).mean())


def between_borders(answer: Array, truth: Array, spacing: Sequence[float]) -> Distances:
    """The distances between the borders of two masks of one shape.

    Raises InputError where the shapes differ.
    """
    return _distances(answer, truth, spacing, _border)


def between_voxels(answer: Array, truth: Array, spacing: Sequence[float]) -> Distances:
    """The distances of every voxel to the other mask: what is inside counts too, so a hollow mask is far from a whole.

    Raises InputError where the shapes differ.
    """
    return _distances(answer, truth, spacing, np.asarray)


def hausdorff(answer: Array, truth: Array, spacing: Sequence[float], percentile: float = 100) -> float:
    """The Hausdorff distance between the borders of two masks of one shape; with percentile 95 the robust HD95."""
    return between_borders(answer, truth, spacing).percentile(percentile)


def hd95(answer: Array, truth: Array, spacing: Sequence[float]) -> float:
    """The 95th percentile Hausdorff distance of two masks, in the unit of the spacing."""
    return hausdorff(answer, truth, spacing, 95)


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """The distance from one corner of a picture or volume to the opposite one."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing)))


def _distances(answer: Array, truth: Array, spacing: Sequence[float], part: Callable[[Array], Array]) -> Distances:
    check_shapes(answer, truth)
    found, there = answer != 0, truth != 0
    if not found.any() or not there.any():
        far = diagonal(answer.shape, spacing) if found.any() or there.any() else 0.0
        return Distances(np.array([far]), np.array([far]))
    box = scipy.ndimage.find_objects((found | there).astype(np.uint8))[0]  # nothing outside of it counts
    one, other = part(found[box]), part(there[box])
    return Distances(nearest(one, other, spacing), nearest(other, one, spacing))


def _border(mask: Array) -> Array:
    return mask & ~scipy.ndimage.binary_erosion(mask)
