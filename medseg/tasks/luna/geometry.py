"""A CT's geometry as a tensor, and what is refused or doubted of one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medseg.data.upright import orientation_of
from medseg.task import Array, Geometry

_SPACING_MM = (0.01, 100.0)  # of any scanner's voxels
_FARTHEST_MM = 1e6
_STRAIGHT = 1e-3  # of the cosines' products: headers round cosines
_PIXEL_MM, _SLICE_MM = 1.5, 3.0  # LUNA16's have 0.5 to 1.0 and up to 2.5
_OBLIQUE_DEGREES = 20.0


def geometry_tensor(geometry: Geometry) -> Array:
    """A geometry as (15,) float64: spacing x, y, z in mm, origin x, y, z in mm, 9 direction cosines row by row."""
    return np.array([*geometry.spacing_mm, *geometry.origin_mm, *geometry.direction], np.float64)


def geometry_from(tensor: Array) -> Geometry:
    """The inverse of `geometry_tensor`, for a tensor without a `problem`."""
    numbers = tensor.astype(np.float64).tolist()
    return Geometry(tuple(numbers[:3]), tuple(numbers[3:6]), tuple(numbers[6:]))


def problem(tensor: Array) -> str:
    """What is wrong with a tensor of a geometry, in words that follow its name; "" where it is one."""
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


def doubts(geometry: Geometry) -> Iterator[str]:
    """What the networks have not learnt of such a volume, in sentences."""
    spacing = orientation_of(geometry).seen_geometry(geometry, (1, 1, 1)).spacing_mm
    across, down, between = (round(size, 2) for size in spacing)
    if max(across, down) > _PIXEL_MM or between > _SLICE_MM:
        yield (
            f"voxels are {across} x {down} x {between} mm from right to left, front to back and feet to head; the "
            f"networks learnt axial slices with pixels up to 1 mm, at most 2.5 mm apart: nodules may be missed"
        )
    turned = _degrees(geometry)
    if turned > _OBLIQUE_DEGREES:
        yield (
            f"the volume is turned by {turned:.0f} degrees from the patient's axes; the networks learnt axial slices: "
            "nodules may be missed"
        )


def _degrees(geometry: Geometry) -> float:
    """The largest angle between an axis of the volume and the nearest of the patient's."""
    nearest = np.abs(np.reshape(geometry.direction, (3, 3))).max(0).min()
    return float(np.degrees(np.arccos(min(1.0, nearest))))
