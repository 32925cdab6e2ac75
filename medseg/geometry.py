"""Where a volume lies in the patient. Needs numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.tensor import Array

IDENTITY_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Geometry:
    """Where a volume lies in the patient: millimetres, axes in the order x, y, z (that of SimpleITK and DICOM).

    A volume's array is indexed (index, row, col), the reverse: index runs along z, row along y, col along x.
    """

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY_DIRECTION  # 3 x 3 cosines, row by row

    def world_from_voxel(self, irc: Array) -> Array:
        """World coordinates (n, 3) x, y, z in mm of voxel coordinates (n, 3) index, row, col."""
        cri = np.asarray(irc, np.float64)[..., ::-1]
        return (cri * self.spacing_mm) @ self._direction.T + np.asarray(self.origin_mm)

    def voxel_from_world(self, xyz_mm: Array) -> Array:
        """Voxel coordinates (n, 3) index, row, col, not rounded, of world coordinates (n, 3) x, y, z in mm."""
        shifted = np.asarray(xyz_mm, np.float64) - np.asarray(self.origin_mm)
        return ((shifted @ np.linalg.inv(self._direction).T) / self.spacing_mm)[..., ::-1]

    def nearest_voxel(self, xyz_mm: Array) -> Array:
        """Nearest voxel (n, 3) index, row, col as int64 of world coordinates (n, 3) in mm; halves round to even."""
        return np.round(self.voxel_from_world(xyz_mm)).astype(np.int64)

    @property
    def _direction(self) -> Array:
        return np.asarray(self.direction, np.float64).reshape(3, 3)
