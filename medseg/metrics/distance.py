"""How far the voxels of one mask are from those of another: exact, and in little memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from medseg.task import Array


def nearest(own: Array, other: Array, spacing: Sequence[float]) -> Array:
    """The distance of every voxel of `own` to the nearest of `other`, in no order, in the unit of the spacing.

    Both are masks of bool and of one shape, the other one not empty. A slice at a time: the distances within the
    slices of the other mask are computed once, and a voxel looks at one slice after the other, nearest first, until
    they are farther away than what it has found. So memory stays below 20 bytes a voxel (tested).
    """
    if own.ndim < 3:  # a picture is a volume of one slice
        own, other, spacing = own[np.newaxis], other[np.newaxis], (1.0, *spacing)
    there = np.flatnonzero(other.reshape(len(other), -1).any(1)).tolist()
    within = {index: _squares(other[index], spacing[1:]) for index in there}
    away = own & ~other
    distances, done = np.zeros(np.count_nonzero(own)), 0  # 0 for what lies in the other mask itself
    for index in range(len(own)):
        found = _from_slice(np.flatnonzero(away[index]), index, within, spacing[0])
        distances[done : done + len(found)] = found
        done += len(found)
    return np.sqrt(distances, out=distances)


def _squares(mask: Array, spacing: Sequence[float]) -> Array:
    """The squared distance of every pixel to the nearest of the mask's, flat."""
    return np.square(scipy.ndimage.distance_transform_edt(~mask, sampling=spacing)).ravel()


def _from_slice(places: Array, index: int, within: dict[int, Array], step: float) -> Array:
    """The squared distances of a slice's places, given each other slice's."""
    best = np.full(len(places), np.inf)
    for other in sorted(within, key=lambda one: abs(one - index)) if len(places) else ():
        gap = ((other - index) * step) ** 2
        if gap >= best.max():
            break
        np.minimum(best, within[other][places] + gap, out=best)
    return best
