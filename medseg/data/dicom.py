"""The header of one DICOM file: the CT slices that the file holds, or what else it is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from medseg.data.deflated import Guarded
from medseg.data.dicom_kinds import NO_SLICES, is_image, other, values
from medseg.errors import InputError
from medseg.task import Array

if TYPE_CHECKING:
    import pydicom

_DIRECTORY = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNITS = ("", "HU", "HU_MOD", "US", "UNSPECIFIED")  # accepted values of RescaleType; all others are not HU
_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID"),
    *("SeriesInstanceUID", "SeriesNumber", "FrameOfReferenceUID", "Modality", "ImageType", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "ModalityLUTSequence", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
]
_BITS = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
_OWNER = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
_PIXELS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010))  # as floats, as doubles, as whole numbers
_UNDEFINED = 0xFFFFFFFF
_MOST_PIXELS = 1 << 14  # along an axis


@dataclass(frozen=True)
class Slice:
    """A CT slice as its header describes it; its pixels are still in the file."""

    path: Path
    owner: tuple[str, ...]  # patient and study: compared, never shown
    series: str  # its UID: compared, never shown
    number: str  # of the series
    instance: str  # its UID: compared, never shown
    frame_of_reference: str
    shape: tuple[int, int]  # rows, columns
    position: Array  # (3,) mm, of the first pixel's centre
    axes: Array  # (2, 3) cosines: along a row, along a column
    spacing: Array  # (2,) mm, along a row, along a column; NaN where the header has none
    rescale: tuple[float, float] | None  # slope and intercept
    bits: tuple[str, ...]  # how a value is stored: BitsAllocated, BitsStored, HighBit, PixelRepresentation
    padding: tuple[int, int] | None  # first and last of the stored values that mean "no pixel"
    frame: int | None = None  # the frame's number in a multi-frame object, from 0
    derived: bool = False  # whether ImageType says DERIVED
    inverse: bool = False  # MONOCHROME1

    @property
    def name(self) -> str:
        """The name of its file, with the number of its frame from 1: for messages."""
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame + 1}"

    @property
    def normal(self) -> Array:
        """The unit vector (3,) at right angles to the slice."""
        return np.cross(*self.axes)


@dataclass(frozen=True)
class Other:
    """A DICOM file that is not a CT slice, and what it is."""

    path: Path
    what: str
    number: str  # of its series


def read_header(path: Path, real: bool = False) -> tuple[Slice, ...] | Other | None:
    """The file's slices, or what else it is; an empty tuple for a DICOMDIR; None for a file that is not DICOM.

    `real` accepts slices of any modality and unit that have a position in the patient; else only CT slices in HU.

    Raises InputError for a damaged file: cut short, without what an image needs, or with numbers that are not valid.
    """
    with quiet(), Guarded(path) as file:
        if path.name.upper() == "DICOMDIR":
            return ()
        if not _is_dicom(file):
            return None
        from pydicom import dcmread

        try:
            header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
            return _meaning(path, header, file, real)
        except InputError:
            raise
        except Exception as error:  # pydicom may raise anything on damaged bytes; its message may quote the header
            raise damaged(path, f"its header cannot be read: {type(error).__name__}") from error


def damaged(path: Path, why: str) -> InputError:
    """The error for a DICOM file that cannot be used."""
    return InputError(f"{path} is a damaged DICOM file ({why}); expected a CT slice: export the series again")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings, because they quote values of headers."""
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def _is_dicom(file: BinaryIO) -> bool:
    """Whether the file begins like DICOM: with a preamble, or with the first element of group 2 or 8."""
    head = file.read(132)
    file.seek(0)
    if head[128:] == b"DICM":
        return True
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    plausible = len(head) >= 8 and (explicit or head[6:8] == b"\0\0")
    return plausible and head[:2] in (b"\2\0", b"\x08\0", b"\0\x08")


def _meaning(path: Path, header: pydicom.Dataset, file: BinaryIO, real: bool) -> tuple[Slice, ...] | Other:
    from pydicom import Dataset

    meta = getattr(header, "file_meta", None) or Dataset()
    kind = str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")
    if kind == _DIRECTORY:
        return ()
    number = str(header.get("SeriesNumber") or "unknown")
    whole = _has_pixels(path, header, file, str(meta.get("TransferSyntaxUID", "")))
    if not whole and (is_image(kind) or "Modality" not in header):
        raise damaged(path, "it ends before its pixels")
    what = other(header, kind, real)
    if what:
        return Other(path, what, number)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    frames = int(header.get("NumberOfFrames") or 1)
    if groups and len(groups) != frames:
        raise damaged(path, f"it has {frames} frames and places {len(groups)}")
    if groups:
        shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        found = [_slice(path, header, [group, shared, header], place, real) for place, group in enumerate(groups)]
        slices = tuple(one for one in found if one)
        return slices or Other(path, "a localizer", number)
    if frames > 1:
        return Other(path, "several frames without a place for each", number)
    return (replace(one, frame=None),) if (one := _slice(path, header, [header], 0, real)) else ()


def _has_pixels(path: Path, header: pydicom.Dataset, file: BinaryIO, syntax: str) -> bool:
    """Whether pixels follow the header. Raises InputError where the file ends before they do."""
    if syntax == _DEFLATED:  # checked later, when the whole file is read for its pixels
        return True
    implicit, little = header.original_encoding
    head = np.frombuffer(file.read(12).ljust(12, b"\0"), "<u2" if little else ">u2")
    if (int(head[0]), int(head[1])) not in _PIXELS:
        return False
    if implicit:
        file.seek(-4, 1)
    words = head[2:4] if implicit else head[4:6]
    low, high = (int(word) for word in (words if little else words[::-1]))
    length = high << 16 | low
    left = path.stat().st_size - file.tell()
    if length != _UNDEFINED and left < length:
        raise damaged(path, f"it ends after {left} of {length} bytes of pixels")
    return True


def _slice(path: Path, header: pydicom.Dataset, places: list[pydicom.Dataset], frame: int, real: bool) -> Slice | None:
    """A slice; None for a localizer.

    Its position and the meaning of its values are looked up in `places`; the first one that has a value counts.
    """
    kinds = [str(word) for word in values(_found(places, "CTImageFrameTypeSequence", "FrameType"))]
    if any(word in NO_SLICES for word in kinds):
        return None
    where = _found(places, "PlanePositionSequence", "ImagePositionPatient")
    turned = _found(places, "PlaneOrientationSequence", "ImageOrientationPatient")
    if where is None or turned is None:
        raise InputError(f"{path} lacks ImagePositionPatient or ImageOrientationPatient; expected both, to place it")
    try:
        position, axes = _floats(where, 3), _floats(turned, 6).reshape(2, 3)
    except (TypeError, ValueError) as error:
        raise damaged(path, "its position or orientation is not 3 and 6 numbers") from error
    shape = int(header.Rows), int(header.Columns)
    if min(shape) < 1 or max(shape) > _MOST_PIXELS:
        raise damaged(path, f"it has {shape[0]} rows and {shape[1]} columns")
    if not (np.isfinite(position).all() and abs(np.linalg.norm(np.cross(*axes)) - 1) < 0.01):
        raise damaged(path, "its position and orientation span no plane")
    between = _found(places, "PixelMeasuresSequence", "PixelSpacing")
    types = [str(word) for word in values(header.get("ImageType"))] + kinds
    return Slice(
        path=path,
        owner=tuple(str(header.get(name) or "") for name in _OWNER),
        series=str(header.get("SeriesInstanceUID") or ""),
        number=str(header.get("SeriesNumber") or "unknown"),
        instance=str(header.get("SOPInstanceUID") or ""),
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
        shape=shape,
        position=position,
        axes=axes,
        spacing=np.full(2, np.nan) if between is None else _floats(between, 2)[::-1],
        rescale=_rescale(path, places, real),
        bits=tuple(str(header.get(name)) for name in _BITS),
        padding=_padding(places),
        frame=frame,
        derived="DERIVED" in types,
        inverse=str(header.get("PhotometricInterpretation") or "") == "MONOCHROME1",
    )


def _rescale(path: Path, places: list[pydicom.Dataset], real: bool) -> tuple[float, float] | None:
    group = "PixelValueTransformationSequence"
    slope, intercept = _found(places, group, "RescaleSlope"), _found(places, group, "RescaleIntercept")
    unit = str(_found(places, group, "RescaleType") or "")
    if unit.upper() not in _UNITS and not real:
        raise InputError(f"{path} holds no HU but values of another unit (RescaleType); expected a CT in HU")
    if slope is None or intercept is None or str(slope) == "" or str(intercept) == "":
        return None
    found = float(slope), float(intercept)
    if not (np.isfinite(found).all() and found[0] > 0):
        raise damaged(path, f"its rescale has slope {found[0]:g} and intercept {found[1]:g}")
    return found


def _padding(places: list[pydicom.Dataset]) -> tuple[int, int] | None:
    value, limit = (_found(places, "PixelPaddingSequence", f"PixelPadding{name}") for name in ("Value", "RangeLimit"))
    if not isinstance(value, int | float):
        return None
    return int(value), int(limit) if isinstance(limit, int | float) else int(value)


def _found(places: list[pydicom.Dataset], group: str, name: str) -> Any:
    """The value of this name from the first place that has one, in its functional group or directly; else None."""
    for place in places:
        inside = place.get(group)
        for one in [*(inside or []), place]:
            if one.get(name) is not None:
                return one.get(name)
    return None


def _floats(value: Any, count: int) -> Array:
    found = np.asarray(value, np.float64).reshape(-1)
    if found.shape != (count,):
        raise ValueError("their number differs")
    return found
