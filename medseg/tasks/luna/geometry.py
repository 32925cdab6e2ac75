"""A CT's geometry as a tensor, and what makes an answer for it doubtful."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medseg.data.geometry import geometry_from, geometry_tensor, problem
from medseg.data.upright import orientation_of
from medseg.task import Geometry

__all__ = ["doubts", "geometry_from", "geometry_tensor", "problem"]

_PIXEL_MM, _SLICE_MM = 1.5, 3.0  # LUNA16's have 0.5 to 1.0 and up to 2.5
_OBLIQUE_DEGREES = 20.0


def doubts(geometry: Geometry) -> Iterator[str]:
    """How such a volume differs from the training data of the networks, in sentences."""
    spacing = orientation_of(geometry).seen_geometry(geometry, (1, 1, 1)).spacing_mm
    across, down, between = (round(size, 2) for size in spacing)
    if max(across, down) > _PIXEL_MM or between > _SLICE_MM:
        yield (
            f"voxels are {across} x {down} x {between} mm from right to left, front to back and feet to head; the "
            "networks were trained on axial slices with pixels up to 1 mm, at most 2.5 mm apart: nodules may be "
            "missed"
        )
    turned = _degrees(geometry)
    if turned > _OBLIQUE_DEGREES:
        yield (
            f"the volume is turned by {turned:.0f} degrees from the patient's axes; the networks were trained on "
            "axial slices: nodules may be missed"
        )


def _degrees(geometry: Geometry) -> float:
    """The largest angle between an axis of the volume and the nearest of the patient's."""
    nearest = np.abs(np.reshape(geometry.direction, (3, 3))).max(0).min()
    return float(np.degrees(np.arccos(min(1.0, nearest))))
