"""Shapes on open axes, as signed distances in mm, negative inside: what a made-up chest is drawn with."""

from __future__ import annotations

import numpy as np

from medseg.data.phantom import paint
from medseg.task import Array

EDGE_MM = 1.5  # how wide a border looks in a scan
THINNEST_MM = 0.9  # a tube below is drawn as wide as this and fainter, as a scanner sees it
Axes = tuple[Array, Array, Array]  # z (index, 1, 1), y (1, row, 1), x (1, 1, col), in mm
Place = Array | tuple[float, float, float]
Tube = tuple[Place, Place, float]  # start, end and radius


def axes_mm(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Axes:
    """The coordinates of a scan's voxels, zero at the middle."""
    z, y, x = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * step for n, step in zip(shape, spacing_mm, strict=True))
    return z[:, None, None], y[None, :, None], x[None, None, :]


def oval(y: Array, x: Array, half_depth: float, half_width: float) -> Array:
    """A trunk's cross-section: an ellipse with fuller corners."""
    across, deep = np.minimum((x / half_width) ** 2, 2), np.minimum((y / half_depth) ** 2, 2)
    return _distance(across + deep - 0.3 * across * deep, across / half_width**2 + deep / half_depth**2)


def ball(axes: Axes, centre: Place, radii: Place) -> Array:
    """An ellipsoid; an infinite radius makes a cylinder, as many-dimensional as the axes that are left."""
    square, slope = np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
    for axis, middle, radius in zip(axes, centre, radii, strict=True):
        if np.isfinite(radius):
            share = ((axis - middle) / radius) ** 2
            square, slope = square + share, slope + share / radius**2
    return _distance(square, slope)


def box_of(axes: Axes, centre: Place, radii: Place) -> tuple[slice, ...]:
    """The part of a scan that an ellipsoid and its border lie in."""
    spread = np.add(radii, EDGE_MM)
    return around(axes, np.subtract(centre, spread), np.add(centre, spread))


def part_of(axes: Axes, box: tuple[slice, ...]) -> Axes:
    """The axes of a part of a scan."""
    z, y, x = axes
    return z[box[0]], y[:, box[1]], x[:, :, box[2]]


def paint_ball(hu: Array, axes: Axes, centre: Place, radii: Place, value: float, within: Array | None = None) -> None:
    """Draw an ellipsoid into a scan, where `within` (a distance on the whole scan) is inside."""
    box = box_of(axes, centre, radii)
    distance = ball(part_of(axes, box), centre, radii)
    paint(hu[box], distance if within is None else np.maximum(distance, within[box]), value, EDGE_MM)


def paint_tube(hu: Array, axes: Axes, tube: Tube, value: float) -> None:
    """Draw a tube with round ends into a scan."""
    start, end, radius_mm = tube
    seen = max(radius_mm, THINNEST_MM)
    spread = seen + EDGE_MM / 2
    part = around(axes, np.minimum(start, end) - spread, np.maximum(start, end) + spread)
    offsets = [axis - middle for axis, middle in zip(part_of(axes, part), start, strict=True)]
    along = [float(b) - float(a) for a, b in zip(start, end, strict=True)]
    length = max(sum(step * step for step in along), 1e-6)
    share = np.clip(sum(o * s for o, s in zip(offsets, along, strict=True)) / length, 0, 1)
    square = sum((o - share * s) ** 2 for o, s in zip(offsets, along, strict=True))
    weight = np.clip(0.5 - (np.sqrt(square) - seen) / EDGE_MM, 0, 1) * (radius_mm / seen) ** 1.5
    image = hu[part]
    image += weight * (value - image)


def _distance(square: Array, slope: Array) -> Array:
    """The distance to where `square` is 1, right near there, from half the length of its slope."""
    reach = np.sqrt(square + 1e-6)
    return reach * (reach - 1) / (np.sqrt(slope) + 1e-6)


def around(axes: Axes, low: Array, high: Array) -> tuple[slice, ...]:
    """The part of a scan between two corners, so that a small shape costs little."""
    ends = [np.searchsorted(axis.ravel(), pair) for axis, pair in zip(axes, zip(low, high, strict=True), strict=True)]
    return tuple(slice(int(first), int(last)) for first, last in ends)
