"""A volume's geometry as a tensor, and the check of such a tensor."""

from __future__ import annotations

import numpy as np

from medseg.task import Array, Geometry

_SPACING_MM = (0.01, 100.0)  # the voxels of all scanners lie in this range
_FARTHEST_MM = 1e6
_STRAIGHT = 1e-3  # tolerance for the products of cosines, because headers round cosines


def geometry_tensor(geometry: Geometry) -> Array:
    """A geometry as (15,) float64: spacing x, y, z in mm, origin x, y, z in mm, 9 direction cosines, row by row."""
    return np.array([*geometry.spacing_mm, *geometry.origin_mm, *geometry.direction], np.float64)


def geometry_from(tensor: Array) -> Geometry:
    """The inverse of `geometry_tensor`, for a tensor in which `problem` finds nothing."""
    numbers = tensor.astype(np.float64).tolist()
    return Geometry(tuple(numbers[:3]), tuple(numbers[3:6]), tuple(numbers[6:]))


def problem(tensor: Array) -> str:
    """What is wrong with a geometry's tensor (15,), as words to put after its name; "" if nothing is."""
    if not np.isfinite(tensor).all():
        return "holds NaN or infinite numbers; expected spacing, origin and direction in finite numbers"
    spacing, origin, direction = tensor[:3], tensor[3:6], tensor[6:].reshape(3, 3)
    least, most = _SPACING_MM
    if not ((spacing >= least) & (spacing <= most)).all():
        return f"starts with spacing {spacing.tolist()} mm; expected three numbers of {least} to {most} mm"
    if np.abs(origin).max() > _FARTHEST_MM:
        return f"has origin {origin.tolist()} mm; expected numbers of up to {_FARTHEST_MM:g} mm"
    if np.abs(direction.T @ direction - np.eye(3)).max() > _STRAIGHT:
        found = np.round(direction, 4).ravel().tolist()
        return (
            f"ends with direction {found}; expected a rotation or a reflection: three axes of length 1 at right angles"
        )
    return ""
