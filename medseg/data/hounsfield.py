"""Whether values are a CT's, in HU: what is certainly not is doubted, what may be is remarked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.task import Array, Reading

AIR_HU = -1000
_INT16 = np.iinfo(np.int16)
_SAMPLE = 1 << 20  # voxels that shares are counted in
_FEW = 0.001  # a share: noise and metal, no organ
_THIN_HU = -500  # lung and air lie below, every other tissue above
_DENSE_HU = 8000  # steel; more than a hundredth of a volume is no metal but padding or another unit
_NARROW_HU = 100  # fat and muscle alone are further apart


def doubt(array: Array) -> str:
    """Why an array (index, row, col) is no CT in HU, with the numbers seen; "" where it may be one.

    It speaks only where nothing can be meant: a single value, values within 100 of each other (0 to 1), nothing below
    0 (8-bit, or offset by 1024), nothing above -500, or much beyond metal. A CT cut down to the body passes.
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
    """What makes an answer about the lungs doubtful though the values may be HU; "" where nothing does."""
    sample = _sampled(array)
    if (sample < _THIN_HU).mean() >= _FEW:
        return ""
    return (
        f"values from {array.min().item():g} to {array.max().item():g}: no voxel has as little density as lung or air "
        f"(below {_THIN_HU} HU), so the answer is doubtful: are they HU, and is this a chest?"
    )


def whole_hounsfield(array: Array, path: Path) -> tuple[Array, tuple[str, ...]]:
    """The values as int16, and notes. HU beyond its range are clipped, as every network clips far below.

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
    """The values as the reading wants them: float32 as they are, or int16 HU; and notes.

    Raises InputError for NaN and infinite values.
    """
    if not reading.real:
        return whole_hounsfield(array, path)
    if array.dtype.kind == "f" and (bad := int((~np.isfinite(array)).sum())):
        raise InputError(f"{path} holds {bad} NaN or infinite voxels; expected finite numbers: fill them first")
    return array.astype(np.float32), ()


def _range(array: Array) -> tuple[int, int]:
    """int16's range as far as the array's own type reaches."""
    kind = np.iinfo(array.dtype)
    return max(kind.min, _INT16.min), min(kind.max, _INT16.max)


def _sampled(array: Array) -> Array:
    """About a million voxels, evenly spread; every voxel of a small array."""
    flat = array.reshape(-1)
    return flat[:: max(1, array.size // _SAMPLE) | 1]  # odd, so that no column is favoured
