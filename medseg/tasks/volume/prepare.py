"""Preprocessing: a volume turned, cropped, normalised and resampled to the network's grid, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from medseg.task import Array, Geometry
from medseg.tasks.volume.normalise import normalise
from medseg.tasks.volume.plan import Plan
from medseg.tasks.volume.resample import labels_resampled, new_shape, resampled, slice_axis

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
_OUTSIDE = -1  # the label of an earlier answer where the image is 0


@dataclass(frozen=True)
class Frame:
    """Where the network's grid lies in the image's, in the network's order of axes."""

    shape: tuple[int, ...]  # of the image, turned and its axes exchanged
    box: tuple[slice, slice, slice]  # what was kept of it
    spacing_mm: tuple[float, ...]  # of the image
    target_mm: tuple[float, ...]  # of the network's grid
    start: tuple[int, ...] = (0, 0, 0)  # of the network's input on its grid, where it is cropped there

    @property
    def size(self) -> tuple[int, ...]:
        """The box's shape."""
        return tuple(part.stop - part.start for part in self.box)


def prepared(image: Array, geometry: Geometry, plan: Plan, earlier: Array | None = None) -> tuple[Array, Frame]:
    """The network's input (channels, z, y, x) float32 of an image (channels, z, y, x), and the frame it lies in.

    `earlier` are the labels (z, y, x) of an earlier stage on the image's grid, a channel for each of its labels.
    """
    data = turned(image, geometry, plan).astype(np.float32)
    where = frame_of(data, geometry, plan)
    data = data[(slice(None), *where.box)]
    nonzero: list[Array] = []

    def mask() -> Array:
        if not nonzero:
            nonzero.append(scipy.ndimage.binary_fill_holes((data != 0).any(0)))
        return nonzero[0]

    labels = None
    if earlier is not None:
        labels = turned(earlier[None], geometry, plan)[0][where.box].astype(np.int16)
        labels[(labels == 0) & ~mask()] = _OUTSIDE
    looked_at = mask if labels is None else lambda: labels >= 0
    if any(scheme.get("masked") for scheme in plan.schemes):
        looked_at()  # before a channel's values change
    for values, scheme in zip(data, plan.schemes, strict=True):
        normalise(values, scheme, looked_at)
    shape = new_shape(where.size, where.spacing_mm, where.target_mm)
    axis = slice_axis(plan.image, where.spacing_mm, where.target_mm)
    channels = [resampled(values, shape, plan.image.order, axis, plan.image.between) for values in data]
    if labels is not None:
        small = labels_resampled(labels, shape, axis)
        channels += [(small == label).astype(np.float32) for label in plan.earlier]
    return np.ascontiguousarray(np.stack(channels)), where


def frame_of(data: Array, geometry: Geometry, plan: Plan) -> Frame:
    """The frame of an image (channels, z, y, x) that is turned already."""
    spacing = tuple(turned_spacing(geometry, plan)[axis] for axis in plan.axes)
    target = plan.spacing_mm if len(plan.spacing_mm) == 3 else (spacing[0], *plan.spacing_mm)
    return Frame(data.shape[1:], nonzero_box(data) if plan.crop else _whole(data.shape[1:]), spacing, target)


def nonzero_box(data: Array) -> tuple[slice, slice, slice]:
    """The smallest box (z, y, x) with all voxels of an image (channels, z, y, x) that are not 0; all where none is."""
    found = []
    for axis in range(3):
        others = tuple(one for one in range(4) if one != axis + 1)
        filled = np.flatnonzero((data != 0).any(axis=others))
        found.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, data.shape[axis + 1]))
    z, y, x = found
    return z, y, x


def turned(image: Array, geometry: Geometry, plan: Plan) -> Array:
    """An image (channels, z, y, x) as the network has its axes: the plan's orientation first, then their order."""
    seen = image
    if plan.orientation:
        from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

        way = ornt_transform(_orientation(geometry), axcodes2ornt(plan.orientation))
        seen = np.ascontiguousarray(np.stack([apply_orientation(one.T, way).T for one in image]))
    return seen.transpose(0, *(axis + 1 for axis in plan.axes))


def turned_back(labels: Array, geometry: Geometry, plan: Plan) -> Array:
    """Labels (z, y, x) in the network's order of axes on the image's own grid."""
    seen = labels.transpose(np.argsort(plan.axes))
    if plan.orientation:
        from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

        way = ornt_transform(axcodes2ornt(plan.orientation), _orientation(geometry))
        seen = apply_orientation(seen.T, way).T
    return np.ascontiguousarray(seen)


def turned_spacing(geometry: Geometry, plan: Plan) -> Sequence[float]:
    """The spacing (z, y, x) of an image in the plan's orientation, in mm."""
    spacing = geometry.spacing_mm
    if plan.orientation:
        from nibabel.orientations import axcodes2ornt, ornt_transform

        way = ornt_transform(_orientation(geometry), axcodes2ornt(plan.orientation))
        order = [int(np.flatnonzero(way[:, 0] == axis)[0]) for axis in range(3)]
        spacing = (spacing[order[0]], spacing[order[1]], spacing[order[2]])
    return spacing[::-1]


def _orientation(geometry: Geometry) -> Array:
    """nibabel's orientation of the axes x, y, z."""
    from nibabel.orientations import io_orientation

    axes = _RAS_FROM_LPS @ np.reshape(geometry.direction, (3, 3)) * geometry.spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = axes
    return io_orientation(affine)


def _whole(shape: Sequence[int]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(0, size) for size in shape)
    return z, y, x
