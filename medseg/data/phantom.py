"""Shapes as signed distances in millimetres, and painting: with these the tasks draw their made-up patients."""

from __future__ import annotations

import numpy as np

from medseg.task import Array


def grid_mm(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Array:
    """Coordinates in mm of every pixel or voxel, 0 in the middle: (axes, *shape) float32, axes in array order."""
    axes = [(np.arange(size) - (size - 1) / 2) * step for size, step in zip(shape, spacing_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def ellipsoid(grid: Array, centre_mm: Array, radii_mm: Array) -> Array:
    """Distance in mm, negative inside, to an ellipsoid. It is exact only near the surface.

    An infinite radius makes a cylinder.
    """
    axes = (-1,) + (1,) * (grid.ndim - 1)
    radii = np.asarray(radii_mm, np.float32)
    reach = np.sqrt((((grid - np.reshape(centre_mm, axes)) / radii.reshape(axes)) ** 2).sum(0))
    return (reach - 1) * radii.min()


def tube(grid: Array, start_mm: Array, end_mm: Array, radius_mm: float) -> Array:
    """Distance in mm, negative inside, to a tube with round ends."""
    axes = (-1,) + (1,) * (grid.ndim - 1)
    along = np.asarray(end_mm, np.float32) - np.asarray(start_mm, np.float32)
    offset = grid - np.reshape(start_mm, axes)
    share = np.clip((offset * along.reshape(axes)).sum(0) / max(float(along @ along), 1e-6), 0, 1)
    return np.sqrt(((offset - share * along.reshape(axes)) ** 2).sum(0)) - radius_mm


def paint(image: Array, distance_mm: Array, value: float, edge_mm: float) -> None:
    """Blend `value` into the float image inside the shape, in place. The soft border is `edge_mm` wide, as in scans."""
    share = np.clip(0.5 - distance_mm / edge_mm, 0, 1)
    image += share * (value - image)


def around(grid: Array, low_mm: Array, high_mm: Array) -> tuple[slice, ...]:
    """The slices of the grid between two corners, so that only a small part is computed for a small shape."""
    parts = []
    for axis, (low, high) in enumerate(zip(low_mm, high_mm, strict=True)):
        ticks = np.moveaxis(grid[axis], axis, 0).reshape(grid.shape[axis + 1], -1)[:, 0]
        first, last = np.searchsorted(ticks, (low, high))
        parts.append(slice(int(first), int(last)))
    return tuple(parts)
