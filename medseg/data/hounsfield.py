"""Whether a volume's values are HU of a CT: `doubt` finds values that cannot be, `remark` values that look unusual."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.task import Array, Reading

AIR_HU = -1000
_INT16 = np.iinfo(np.int16)
_SAMPLE = 1 << 20  # about how many voxels are sampled to count shares
_FEW = 0.001  # a smaller share of the voxels is noise or metal, not an organ
_THIN_HU = -500  # lung and air are below, all other tissue is above
_DENSE_HU = 8000  # steel; where over a hundredth of a volume is denser, it is padding or another unit, not metal
_NARROW_HU = 100  # even fat and muscle differ by more


def doubt(array: Array) -> str:
    """Why an array (index, row, col) is not a CT in HU, with the values found; "" where it may be one.

    Only clear cases are named: no voxel, a single value, values within 100 of each other (such as 0 to 1), nothing
    below 0 (8-bit, or offset by 1024), nothing above -500, or many values above metal. A CT cut to the body passes.
    """
    if array.size == 0:
        return "it holds no voxel"
    low, high = array.min().item(), array.max().item()
    seen = f"values from {low:g} to {high:g}"
    if low == high:
        return f"every voxel is {low:g}"
    if high - low < _NARROW_HU:
        return f"{seen}, where tissues differ by hundreds of HU: scaled or a mask?"
    sample = _sampled(array)
    if (sample < 0).mean() < _FEW:
        return f"{seen}, so no air and no fat, which are below 0 HU: offset by 1024, 8-bit, another modality?"
    if high < _THIN_HU:
        return f"{seen}, so there is no tissue: offset by -1024?"
    if (dense := float((sample > _DENSE_HU).mean())) > 0.01:
        return f"{seen}, {dense:.0%} of them over {_DENSE_HU} HU: padding that its header does not name, or not HU?"
    return ""


def remark(array: Array) -> str:
    """Why an answer about the lungs is doubtful although the values may be HU; "" where it is not."""
    sample = _sampled(array)
    if (sample < _THIN_HU).mean() >= _FEW:
        return ""
    return (
        f"values from {array.min().item():g} to {array.max().item():g}: no voxel has as little density as lung or air "
        f"(below {_THIN_HU} HU), so the answer is doubtful: are they HU, and is this a chest?"
    )


def whole_hounsfield(array: Array, path: Path) -> tuple[Array, tuple[str, ...]]:
    """The values as int16 HU, and notes. HU outside of int16's range are clipped: all networks clip at far less.

    Raises InputError for NaN and infinite values.
    """
    if array.dtype.kind != "f":
        kept = array if array.dtype.itemsize == 1 or array.dtype.str[1:] == "i2" else array.clip(*_range(array))
        return kept.astype(np.int16, copy=False), ()
    if bad := int((~np.isfinite(array)).sum()):
        raise InputError(f"{path} holds {bad} NaN or infinite voxels; expected finite HU: fill them before inference")
    rounded = np.rint(array)
    fractions = () if np.array_equal(rounded, array) else (f"{path} holds fractions of HU; rounded to whole HU",)
    return rounded.clip(_INT16.min, _INT16.max).astype(np.int16), fractions


def as_read(array: Array, path: Path, reading: Reading) -> tuple[Array, tuple[str, ...]]:
    """The values in the form that the reading asks for, unchanged as float32 or as int16 HU; and notes.

    Raises InputError for NaN and infinite values.
    """
    if not reading.real:
        return whole_hounsfield(array, path)
    if array.dtype.kind == "f" and (bad := int((~np.isfinite(array)).sum())):
        raise InputError(f"{path} holds {bad} NaN or infinite voxels; expected finite numbers: fill them first")
    return array.astype(np.float32), ()


def _range(array: Array) -> tuple[int, int]:
    """The part of int16's range that the array's own type can hold."""
    kind = np.iinfo(array.dtype)
    return max(kind.min, _INT16.min), min(kind.max, _INT16.max)


def _sampled(array: Array) -> Array:
    """About a million voxels, evenly spread; every voxel of a small array."""
    flat = array.reshape(-1)
    return flat[:: max(1, array.size // _SAMPLE) | 1]  # an odd step, so that the samples come from all columns
