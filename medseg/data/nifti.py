"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz): one volume, and its position. qform and sform must agree on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.data.hounsfield import as_read
from medseg.data.pixels import check_shape, damaged, head, is_gzip, only_volume, plain, unpacked
from medseg.data.placing import LPS_FROM_RAS, placed, spacing_of
from medseg.data.voxels import Volume
from medseg.errors import InputError
from medseg.task import Array, Geometry, Reading

_SIZES = (348, 540)  # bytes of the two kinds of header; each header states its own size
_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}  # unknown, metre, millimetre, micron; 0 is what many write for mm
_UNIT_NAMES = {1: "metres", 3: "microns"}
_SAME = 0.01  # by which share pixdim and the lengths of the sform's columns may differ
_ROUNDED = 1e-5  # a smaller share is float32's rounding: then pixdim is used, as other readers do
_LARGEST_OFFSET = 1 << 30

if TYPE_CHECKING:
    from nibabel import Nifti1Header, Nifti2Header

    Header = Nifti1Header | Nifti2Header


def read(path: Path, reading: Reading) -> Volume:
    """The volume. Raises InputError where the header or the voxels are incomplete, or not of one volume."""
    header = _header(path)
    rank = int(header["dim"][0])
    shape = only_volume(path, [int(size) for size in header["dim"][1 : rank + 1]])
    kind = _kind(path, header)
    values = _voxels(path, header, check_shape(path, shape, kind.itemsize)).view(kind).reshape(shape[::-1])
    values, scaled = _scaled(path, header, values, reading.real)
    array, rounded = as_read(values, path, reading)
    geometry, placed_so = _geometry(path, header, shape, reading)
    return Volume(path, array, geometry, (*placed_so, *scaled, *rounded))


def _header(path: Path) -> Header:
    from nibabel import Nifti1Header, Nifti2Header

    first = head(path, 544)
    size = int.from_bytes(first[:4], "little"), int.from_bytes(first[:4], "big")
    known = next((one for one in size if one in _SIZES), None)
    if known is None or len(first) < known:
        raise damaged(path, "it does not begin as NIfTI does")
    kind = Nifti1Header if known == _SIZES[0] else Nifti2Header
    header = kind(first[:known], "<" if size[0] == known else ">", check=False)
    magic = bytes(header["magic"].item())[:3]
    if magic in (b"ni1", b"ni2"):
        raise InputError(
            f"{path} is the header of a pair (.hdr, .img); expected header and voxels in one file: save it so"
        )
    if magic not in (b"n+1", b"n+2"):
        raise damaged(path, "its header lacks NIfTI's mark")
    if not 1 <= int(header["dim"][0]) <= 7:
        raise damaged(path, f"it states {int(header['dim'][0])} dimensions")
    return header


def _kind(path: Path, header: Header) -> np.dtype:
    try:
        kind = header.get_data_dtype()
    except Exception as error:  # nibabel has its own exceptions for an unknown code
        raise damaged(path, f"its datatype {int(header['datatype'])} is none") from error
    if kind.kind not in "iuf" or kind.itemsize > 8:
        what = "colours" if kind.fields else f"voxels of type {kind}"
        raise InputError(f"{path} holds {what}; expected one real number per voxel: save it as HU")
    if int(header["bitpix"]) != 8 * kind.itemsize:
        raise damaged(path, f"its bitpix is {int(header['bitpix'])}, its datatype has {8 * kind.itemsize} bits")
    return kind


def _voxels(path: Path, header: Header, size: int) -> Array:
    """The voxels' bytes (size,) uint8."""
    offset = float(header["vox_offset"])
    least = int(header["sizeof_hdr"]) + 4
    if not (np.isfinite(offset) and least <= offset <= _LARGEST_OFFSET and offset == int(offset)):
        raise damaged(path, f"its voxels start at byte {offset:g}, its header ends at {least}")
    with path.open("rb") as file:
        packed = is_gzip(file.read(2))
    if packed:
        return unpacked(path, 0, int(offset) + size)[int(offset) :]
    return plain(path, int(offset), size)


def _scaled(path: Path, header: Header, values: Array, real: bool) -> tuple[Array, tuple[str, ...]]:
    """The values times scl_slope plus scl_inter, and notes. A slope of 0 or NaN means that nothing is scaled."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or (np.isnan(slope) and (np.isnan(intercept) or intercept == 0)):
        return values, ()
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise damaged(path, f"its scl_slope is {slope:g}, its scl_inter {intercept:g}")
    if (slope, intercept) == (1, 0):
        return values, ()
    if values.dtype.kind != "f" and slope == 1 and intercept.is_integer():
        return values.astype(np.int64) + int(intercept), ()
    scaled = values * np.float64(slope) + intercept
    if real:
        return scaled, ()
    whole = np.rint(scaled)
    return (whole if np.allclose(scaled, whole, rtol=0, atol=1e-3) else scaled), ()


def _geometry(
    path: Path, header: Header, shape: tuple[int, int, int], reading: Reading
) -> tuple[Geometry, tuple[str, ...]]:
    """Where the volume lies, and notes. Raises InputError where qform and sform give two different places."""
    unit_code = int(header["xyzt_units"]) & 7
    if unit_code not in _UNITS_MM:
        raise damaged(path, f"its unit of length has the code {unit_code}")
    unit = _UNITS_MM[unit_code]
    measured = (f"{path} measures in {_UNIT_NAMES[unit_code]}; taken to mm",) if unit != 1 else ()
    spacing, stated = spacing_of(path, header["pixdim"][1:4].astype(np.float64) * unit, reading)
    given = bool(stated) and reading.spacing_mm is not None
    qform, sform = _qform(path, header, spacing, unit), _sform(header, unit)
    if sform is not None:
        lengths = np.linalg.norm(sform[:, :3], axis=0)
        if not (np.isfinite(sform).all() and lengths.min() > 0):
            raise InputError(
                f"{path} has an sform of NaN or zeros; expected three axes and a place: correct its header"
            )
        if not given and not np.allclose(lengths, spacing, rtol=_SAME):
            raise InputError(
                f"{path} has spacings that differ: pixdim {_mm(spacing)}, sform {_mm(lengths)}; expected one value: "
                "correct it"
            )
    if qform is not None and sform is not None:
        _check_same(path, qform, sform, shape)
    notes = (*stated, *measured)
    chosen = sform if sform is not None else qform
    if chosen is None:
        chosen = np.column_stack([np.diag(spacing * (-1, -1, 1)), np.zeros(3)])  # as ITK reads it: left, back, up
        notes += (
            f"{path} does not say how it lies (qform and sform code 0); its axes are assumed to run left, back, up",
        )
    lengths = np.linalg.norm(chosen[:, :3], axis=0)
    axes = LPS_FROM_RAS @ (chosen[:, :3] / lengths)
    as_stated = given or np.allclose(lengths, spacing, rtol=_ROUNDED)
    geometry, turned = placed(path, spacing if as_stated else lengths, axes.T, LPS_FROM_RAS @ chosen[:, 3])
    return geometry, (*notes, *turned)


def _qform(path: Path, header: Header, spacing: Array, unit: float) -> Array | None:
    """The qform's affine (3, 4) in mm; None where its code is 0."""
    from nibabel.quaternions import quat2mat

    if int(header["qform_code"]) <= 0:
        return None
    bcd = np.array([header[f"quatern_{name}"] for name in "bcd"], np.float64)
    offset = np.array([header[f"qoffset_{name}"] for name in "xyz"], np.float64) * unit
    if not (np.isfinite(bcd).all() and np.isfinite(offset).all() and (bcd**2).sum() < 1.001):
        raise InputError(f"{path} has a qform that is not a rotation; expected one: correct its header")
    a = np.sqrt(max(0.0, 1 - (bcd**2).sum()))
    rotation = quat2mat([a, *bcd])
    mirrored = -1.0 if header["pixdim"][0] < 0 else 1.0
    return np.column_stack([rotation * spacing * (1, 1, mirrored), offset])


def _sform(header: Header, unit: float) -> Array | None:
    """The sform's affine (3, 4) in mm; None where its code is 0."""
    if int(header["sform_code"]) <= 0:
        return None
    return np.array([header[f"srow_{name}"] for name in "xyz"], np.float64) * unit


def _check_same(path: Path, qform: Array, sform: Array, shape: tuple[int, int, int]) -> None:
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
    apart = float(np.linalg.norm((qform - sform) @ corners.T, axis=0).max())
    half = float(np.linalg.norm(sform[:, :3], axis=0).min()) / 2
    if apart > half:
        raise InputError(
            f"{path} says twice where it lies: qform and sform are {apart:.1f} mm apart; expected less than half a "
            f"voxel ({half:.2g} mm): copy the right one over the other (fslorient -copysform2qform or -copyqform2sform)"
        )


def _mm(values: Array) -> str:
    return " x ".join(f"{value:.4g}" for value in values) + " mm"
