"""One DICOM series in a folder: its slices in order along the patient, checked for what would falsify the geometry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError

from medseg.errors import InputError
from medseg.task import Array

_POSITION_TOLERANCE_MM = 0.02  # headers round positions to hundredths of a millimetre
_UNIT_TOLERANCE = 0.01  # of the length of a slice's normal: headers round cosines
_TAGS = ["SeriesInstanceUID", "SeriesNumber", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns"]


@dataclass(frozen=True)
class _Slice:
    path: Path
    series: str
    number: str
    position: Array  # (3,) mm
    normal: Array  # (3,) unit


def series_files(folder: Path) -> list[Path]:
    """The folder's slices, lowest along the slice normal first.

    Raises InputError where the folder holds no series or more than one, where slices are missing, doubled or
    unequally spaced, or where the gantry was tilted. Messages name series numbers, never a patient or a UID.
    """
    slices = [found for path in sorted(folder.iterdir()) if path.is_file() and (found := _read_header(path))]
    if not slices:
        raise InputError(f"{folder} holds no DICOM slices; expected the files of one CT series")
    series = {one.series: one.number for one in slices}
    if len(series) > 1:
        counts = ", ".join(
            f"number {number} with {sum(s.series == uid for s in slices)}" for uid, number in series.items()
        )
        raise InputError(
            f"{folder} holds {len(series)} series ({counts} slices); expected one: keep one series per folder"
        )
    normal = slices[0].normal
    slices.sort(key=lambda one: float(one.position @ normal))
    _check_spacing(folder, slices)
    return [one.path for one in slices]


def _read_header(path: Path) -> _Slice | None:
    """What ordering needs of one file; None for a file that is not DICOM or is no slice (DICOMDIR, a report)."""
    with disable_value_validation():  # whose warnings quote what stands in the header
        return _read_quietly(path)


def _read_quietly(path: Path) -> _Slice | None:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except InvalidDicomError:
        return None
    except Exception as error:
        raise InputError(
            f"{path} is a damaged DICOM file ({error}); expected a CT slice: export the series again"
        ) from error
    try:
        return _slice(path, header)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} has a damaged position or orientation ({error}); expected 3 and 6 numbers: export the series again"
        ) from error


def _slice(path: Path, header: pydicom.Dataset) -> _Slice | None:
    if "ImagePositionPatient" not in header or "ImageOrientationPatient" not in header:
        return None
    row, column = np.asarray(header.ImageOrientationPatient, np.float64).reshape(2, 3)
    position = np.asarray(header.ImagePositionPatient, np.float64).reshape(3)
    normal = np.cross(row, column)
    if not (np.isfinite(position).all() and abs(np.linalg.norm(normal) - 1) < _UNIT_TOLERANCE):
        raise ValueError("they span no plane")
    number = str(header.get("SeriesNumber", "unknown"))
    return _Slice(path, str(header.get("SeriesInstanceUID", "")), number, position, normal)


def _check_spacing(folder: Path, slices: list[_Slice]) -> None:
    if len(slices) < 2:
        raise InputError(f"{folder} holds 1 DICOM slice; expected a volume of at least 2")
    positions = np.array([one.position for one in slices])
    normal = slices[0].normal
    steps = np.diff(positions @ normal)
    step = float(np.median(steps))
    across = np.abs(np.diff(positions, axis=0) - steps[:, None] * normal).max()
    if across > _POSITION_TOLERANCE_MM:
        raise InputError(
            f"{folder}: slices shift {across:.2f} mm sideways (gantry tilt); expected a straight stack: resample it"
        )
    if steps.min() < _POSITION_TOLERANCE_MM:
        raise InputError(f"{folder} holds two slices at one position; expected one file per slice: remove the doubles")
    wrong = np.flatnonzero(np.abs(steps - step) > max(_POSITION_TOLERANCE_MM, 0.01 * step))
    if len(wrong) == 0:
        return
    at, gap = int(wrong[0]), float(steps[wrong[0]])
    between = f"between {slices[at].path.name} and {slices[at + 1].path.name}"
    missing = round(gap / step) - 1
    if missing >= 1 and abs(gap - (missing + 1) * step) < 0.05 * step:
        raise InputError(
            f"{folder} lacks {missing} slice(s) {between} (gap {gap:.2f} mm, spacing {step:.2f} mm): export it whole"
        )
    raise InputError(
        f"{folder} has unequal spacing {between} ({gap:.2f} mm, elsewhere {step:.2f} mm): resample it first"
    )
