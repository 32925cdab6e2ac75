"""Orientation: a volume in the axis order that its networks were trained with, however it was stored.

The functions return views, not copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from medseg.task import Array, Geometry

_TIE = 1e-6  # weight of the tie-break for axes at 45 degrees: their direction decides, not the order of storage

Axes = tuple[int, int, int]


@dataclass(frozen=True)
class Orientation:
    """How a stored volume is turned into the seen one: slices from feet to head, rows to the back, columns to the left.

    Only whole axes are exchanged and reversed, nothing is resampled: an oblique volume gets the nearest order.
    """

    axes: Axes  # the stored axes that become the seen index, row and column
    flips: tuple[bool, bool, bool]  # which of the seen axes are reversed

    def seen(self, stored: Array) -> Array:
        """A view of a stored array (stored index, row, col) as networks see it."""
        return stored.transpose(self.axes)[self._reversed]

    def stored(self, seen: Array) -> Array:
        """A view of a seen array (seen index, row, col) on the stored grid."""
        return seen[self._reversed].transpose(np.argsort(self.axes))

    def seen_voxels(self, stored: Array, shape: tuple[int, ...]) -> Array:
        """Voxels (n, 3), index, row, col, of a stored array of this shape, as positions in the seen array."""
        turned = stored[:, self.axes]
        return np.where(self.flips, np.array(shape)[list(self.axes)] - 1 - turned, turned)

    def stored_voxels(self, seen: Array, shape: tuple[int, ...]) -> Array:
        """Voxels (n, 3), index, row, col, of the seen array, as positions in the stored array of this shape."""
        turned = np.where(self.flips, np.array(shape)[list(self.axes)] - 1 - seen, seen)
        return turned[:, np.argsort(self.axes)]

    def seen_geometry(self, stored: Geometry, shape: tuple[int, ...]) -> Geometry:
        """Where the seen array lies in the patient, for a stored array of this shape."""
        first = self.stored_voxels(np.zeros((1, 3)), shape)
        x, y, z = stored.world_from_voxel(first)[0].tolist()
        columns = [2 - axis for axis in reversed(self.axes)]  # the stored direction's columns for the seen x, y, z
        signs = np.where(self.flips[::-1], -1.0, 1.0)
        direction = np.reshape(stored.direction, (3, 3))[:, columns] * signs
        across, down, between = (stored.spacing_mm[column] for column in columns)
        return Geometry((across, down, between), (x, y, z), tuple(direction.ravel().tolist()))

    @property
    def _reversed(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)


def orientation_of(geometry: Geometry) -> Orientation:
    """How a volume of this geometry is turned. All 48 ways to store one volume give the same seen array."""
    # (stored axis, patient axis): how much each axis (index, row, col) points to the head, back and left
    cosines = np.reshape(geometry.direction, (3, 3))[::-1, ::-1].T
    axes = max(permutations(range(3)), key=lambda order: _agreement(cosines[list(order)]))
    flips = [bool(cosines[axis, seen] < 0) for seen, axis in enumerate(axes)]
    return Orientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def _agreement(cosines: Array) -> float:
    """How well axes (seen axis, patient axis) run along the patient's axes, plus a small tie-break.

    The tie-break uses products of two cosines of one axis, because these stay the same when an axis is reversed.
    """
    index, row = cosines[0], cosines[1]
    tie = index[0] * index[1] + row[1] * row[2] + 2 * index[0] * index[2]
    return float(np.abs(np.diag(cosines)).sum() + _TIE * tie)
