"""Resampling as nnU-Net does it, axis by axis: splines in the plane, nearest slices where slices lie far apart.

The numbers are those of scikit-image's `resize`, which is scipy's `zoom` on a grid of voxel centres with edges
continued and the result cut to the range of what went in. An axis at a time takes 4 products a voxel and axis instead
of 64, and differs from scipy in the last bit of float64 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from medseg.task import Array

ANISOTROPY = 3.0  # how often the smallest spacing goes into the largest before slices are taken one by one
_PAD = 12  # voxels by which scipy continues an edge before it fits a spline


@dataclass(frozen=True)
class Rule:
    """How one thing is resampled: the spline's order in the plane and between slices, and when slices are apart."""

    order: int
    between: int = 0
    separate: bool | None = None  # None: where spacings differ by more than ANISOTROPY


def new_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """The shape on a grid of the target spacing; halves round to even."""
    return tuple(round(old / new * size) for old, new, size in zip(spacing, target, shape, strict=True))


def slice_axis(rule: Rule, current: Sequence[float], target: Sequence[float]) -> int | None:
    """The axis along which slices are resampled one by one, None where the volume is resampled as one."""
    if rule.separate is False:
        return None
    if rule.separate:
        return _coarsest(current)
    return next((_coarsest(one) for one in (current, target) if max(one) / min(one) > ANISOTROPY), None)


def _coarsest(spacing: Sequence[float]) -> int | None:
    """The axis with the largest spacing; None where several have it."""
    axes = [axis for axis, size in enumerate(spacing) if max(spacing) / size == 1]
    return axes[0] if len(axes) == 1 else None


def resampled(volume: Array, shape: Sequence[int], order: int, axis: int | None, between: int = 0) -> Array:
    """A volume (z, y, x) float32 at another shape, float32; slices along `axis` one by one where one is given."""
    if tuple(volume.shape) == tuple(shape):
        return volume
    if axis is None:
        return _whole(volume, shape, order)
    stack = np.moveaxis(volume, axis, 0)
    plane = [size for at, size in enumerate(shape) if at != axis]
    if between == 0:
        wanted = nearest(len(stack), shape[axis])
        found = np.empty((shape[axis], *plane), np.float32)
        for index in np.unique(wanted):
            found[wanted == index] = _plane(stack[index].astype(np.float64), plane, order)
    else:
        planes = np.stack([_plane(one.astype(np.float64), plane, order) for one in stack])
        found = _along(planes, 0, shape[axis], between).astype(np.float32)
    return np.moveaxis(found, 0, axis)


def _whole(volume: Array, shape: Sequence[int], order: int) -> Array:
    """The volume resampled as one: along the slices a strip of rows at a time, then plane by plane."""
    columns = np.empty((shape[0], *volume.shape[1:]), np.float64)
    for first in range(0, volume.shape[1], _STRIP):
        rows = slice(first, first + _STRIP)
        columns[:, rows] = _along(volume[:, rows].astype(np.float64), 0, shape[0], order)
    found = np.empty(shape, np.float32)
    low, high = float(volume.min()), float(volume.max())
    for index, plane in enumerate(columns):
        found[index] = np.clip(_in_plane(plane, shape[1:], order), low, high)
    return found


_STRIP = 32  # rows


def _plane(plane: Array, shape: Sequence[int], order: int) -> Array:
    """A plane (y, x) float64 at another shape, cut to its own range."""
    return np.clip(_in_plane(plane, shape, order), plane.min(), plane.max())


def _in_plane(plane: Array, shape: Sequence[int], order: int) -> Array:
    return _along(_along(plane, 0, shape[0], order), 1, shape[1], order)


def _along(array: Array, axis: int, size: int, order: int) -> Array:
    """An array float64 with another size along one axis."""
    if array.shape[axis] == size:
        return array
    lines = np.moveaxis(array, axis, 0)
    if order == 0:
        return np.moveaxis(lines[nearest(len(lines), size)], 0, axis)
    length = len(lines)
    if order == 3:
        padded = np.pad(lines, [(_PAD, _PAD)] + [(0, 0)] * (array.ndim - 1), mode="edge")
        lines = scipy.ndimage.spline_filter1d(padded, 3, 0, np.float64, mode="nearest")
    flat = np.ascontiguousarray(lines).reshape(len(lines), -1)
    found = weights(length, size, order) @ flat
    return np.moveaxis(found.reshape(size, *lines.shape[1:]), 0, axis)


def weights(length: int, size: int, order: int) -> scipy.sparse.csr_array:
    """What each of `size` voxels takes of a line of `length` voxels; of a spline's padded coefficients for order 3."""
    place = centres(length, size)
    rows = np.repeat(np.arange(size), order + 1)
    if order == 1:
        low, high, share = pairs(length, size)
        taken, parts = np.stack([low, high], 1), np.stack([1 - share, share], 1)
        return scipy.sparse.csr_array((parts.ravel(), (rows, taken.ravel())), shape=(size, length))
    place = place + _PAD
    first = np.floor(place).astype(int) - 1
    taken = first[:, None] + np.arange(4)
    parts = _cubic(place - np.floor(place))
    return scipy.sparse.csr_array((parts.ravel(), (rows, taken.ravel())), shape=(size, length + 2 * _PAD))


def _cubic(share: Array) -> Array:
    """The four weights (n, 4) of a cubic B-spline at so much beyond the second of four coefficients."""
    rest = 1 - share
    second = (share * share * (share - 2) * 3 + 4) / 6
    third = (rest * rest * (rest - 2) * 3 + 4) / 6
    return np.stack([rest**3 / 6, second, third, 1 - rest**3 / 6 - second - third], 1)


def centres(length: int, size: int) -> Array:
    """Where the centres of `size` voxels lie among those of `length`, (size,) float64."""
    return (np.arange(size) + 0.5) * (length / size) - 0.5


def nearest(length: int, size: int) -> Array:
    """The nearest of `length` voxels to each of `size`, (size,) int; halves go up."""
    return np.clip(np.floor(centres(length, size) + 0.5).astype(int), 0, length - 1)


def pairs(length: int, size: int) -> tuple[Array, Array, Array]:
    """The two of `length` voxels between which each of `size` lies, and the share (size,) that the second has."""
    place = np.clip(centres(length, size), 0, length - 1)
    low = np.floor(place).astype(int)
    return low, np.minimum(low + 1, length - 1), place - low


def labels_resampled(labels: Array, shape: Sequence[int], axis: int | None) -> Array:
    """Labels (z, y, x) at another shape: the label with most of a voxel, of equals the one nearest.

    As batchgenerators does since 0.25; it wrote the highest label with at least half of a voxel before.
    """
    if tuple(labels.shape) == tuple(shape):
        return labels
    if axis is None:
        return _most(labels, shape)
    stack = np.moveaxis(labels, axis, 0)
    plane = [size for at, size in enumerate(shape) if at != axis]
    planes = np.stack([_most(one, plane) for one in stack])
    return np.moveaxis(planes[nearest(len(planes), shape[axis])], 0, axis)


def _most(labels: Array, shape: Sequence[int]) -> Array:
    """The label with most of each voxel, of an array of any rank."""
    known = np.unique(labels)
    near = labels
    for axis, size in enumerate(shape):
        near = np.take(near, nearest(near.shape[axis], size), axis)
    best, winner, tied = np.zeros(shape), np.full(shape, known[0], labels.dtype), np.zeros(shape, bool)
    for label in known:
        share = (labels == label).astype(np.float64)
        for axis, size in enumerate(shape):
            share = _along(share, axis, size, 1)
        more, same = share > best, (share == best) & (share > 0)
        winner[more], best[more] = label, share[more]
        tied = np.where(more, near == label, tied | (same & (near == label)))
    return np.where(tied, near, winner)
