"""Where a volume lies: its spacing, axes and origin as a Geometry, held to what a patient's CT can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.task import Array, Geometry, Reading

_SPACING_MM = (0.01, 100.0)  # what lies outside is a unit mistaken or a damaged number
_UNIT = 0.01  # how far an axis' length may be from 1
_SHEAR = 0.01  # cosine between two axes; more than 0.6 degrees off the right angle is no rounding
_EXACT = 1e-4  # cosine; headers round to four digits and more

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


def spacing_of(path: Path, stated: Array | None, reading: Reading) -> tuple[Array, tuple[str, ...]]:
    """The spacing x, y, z in mm that the file states, else what the person says; notes.

    Raises InputError where neither is three positive numbers.
    """
    given = reading.spacing_mm
    fine = stated is not None and stated.shape == (3,) and bool(np.isfinite(stated).all() and (stated > 0).all())
    if fine and stated is not None:
        if given is not None and not np.allclose(stated, given, rtol=0.01):
            return stated, (f"{path} states its own spacing, {_numbers(stated)} mm, so --spacing was not used",)
        return stated, ()
    what = "states no voxel spacing" if stated is None else f"has voxel spacing {_numbers(stated)} mm"
    if given is None:
        raise InputError(f"{path} {what}; expected three positive numbers: correct its header, or give --spacing in mm")
    return np.array(given, np.float64), (f"{path} {what}; {_numbers(given)} mm was used, from --spacing",)


def placed(path: Path, spacing_mm: Array, axes: Array, origin_mm: Array) -> tuple[Geometry, tuple[str, ...]]:
    """The geometry of spacing (3,), unit axes (3, 3), one a row in the order x, y, z, and origin (3,), in LPS; notes.

    Axes that are nearly at right angles become the nearest rotation, which is said. Raises InputError for numbers that
    no CT has: NaN, axes that are not of length 1, shear.
    """
    if not (np.isfinite(spacing_mm).all() and spacing_mm.min() > _SPACING_MM[0] and spacing_mm.max() < _SPACING_MM[1]):
        expected = f"{_SPACING_MM[0]} to {_SPACING_MM[1]:g} mm: correct its header"
        raise InputError(f"{path} has voxel spacing {_numbers(spacing_mm)} mm; expected {expected}")
    if not np.isfinite(origin_mm).all():
        raise InputError(
            f"{path} has origin {_numbers(origin_mm)} mm; expected three finite numbers: correct its header"
        )
    lengths = np.linalg.norm(axes, axis=1)
    if not (np.isfinite(axes).all() and (abs(lengths - 1) < _UNIT).all()):
        raise InputError(f"{path} has axes of length {_numbers(lengths)}; expected 1: mend the directions it states")
    unit = axes / lengths[:, None]
    skew = abs(unit @ unit.T - np.eye(3)).max()
    if skew > _SHEAR:
        angle = 90 - np.degrees(np.arcsin(min(skew, 1)))
        raise InputError(
            f"{path} has shear: two of its axes meet at {angle:.1f} degrees; expected right angles: resample it first"
        )
    notes: tuple[str, ...] = ()
    if skew > _EXACT:
        notes = (f"{path}: its axes are {skew:.4f} off right angles; the nearest rotation was used",)
    direction = unit if skew < 1e-7 else _rotation(unit)
    x, y, z = (float(value) for value in spacing_mm)
    left, back, up = (float(value) for value in origin_mm)
    return Geometry((x, y, z), (left, back, up), tuple(direction.T.ravel().tolist())), notes


def _rotation(axes: Array) -> Array:
    """The nearest matrix (3, 3) of right angles, mirrored where the axes are."""
    left, _, right = np.linalg.svd(axes)
    return left @ right


def _numbers(values: Array | tuple[float, ...]) -> str:
    return " x ".join(f"{value:.6g}" for value in np.ravel(values))
