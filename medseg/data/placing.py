"""Where a volume lies: its spacing, axes and origin as a Geometry, checked for values that a CT can have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.task import Array, Geometry, Reading

_SPACING_MM = (0.01, 100.0)  # a value outside is in a wrong unit or damaged
_UNIT = 0.01  # how much an axis' length may differ from 1
_SHEAR = 0.01  # largest cosine between two axes: more than 0.6 degrees off a right angle is not rounding
_EXACT = 1e-4  # below this cosine there is no note; headers round to four or more digits

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


def spacing_of(path: Path, stated: Array | None, reading: Reading) -> tuple[Array, tuple[str, ...]]:
    """The spacing x, y, z in mm that the file states, else the one given with --spacing; and notes.

    Raises InputError where the file states no three positive numbers and --spacing is not given.
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
    """The geometry, in LPS, of spacing (3,) in mm, unit axes (3, 3) and origin (3,) in mm; and notes.

    The axes are rows in the order x, y, z. Axes that are almost at right angles become the nearest rotation or
    reflection, with a note. Raises InputError for numbers that no CT has: NaN, axes that are not of length 1, shear.
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
        raise InputError(f"{path} has axes of length {_numbers(lengths)}; expected 1: correct the directions it states")
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
    """The nearest orthogonal matrix (3, 3); a reflection where the axes are mirrored."""
    left, _, right = np.linalg.svd(axes)
    return left @ right


def _numbers(values: Array | tuple[float, ...]) -> str:
    return " x ".join(f"{value:.6g}" for value in np.ravel(values))
