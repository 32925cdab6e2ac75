"""The pixels of DICOM slices as HU, for every transfer syntax. Each slice has its own rescale; padding becomes air."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.data.codestream import decoded
from medseg.data.deflated import Guarded
from medseg.data.dicom import Slice, damaged, quiet
from medseg.data.hounsfield import AIR_HU, as_read
from medseg.errors import InputError
from medseg.task import Array, Reading

if TYPE_CHECKING:
    import pydicom

_AIRY = (-1100, -900)  # HU; padding in this range is already air
_TISSUE = (-900, 2000)  # HU; padding in this range cannot be told from tissue
_FLOATS = {"FloatPixelData": "<f4", "DoubleFloatPixelData": "<f8"}
_MODULE = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")


def voxels(where: Path, slices: Sequence[Slice], reading: Reading) -> tuple[Array, tuple[str, ...]]:
    """The slices' values (index, row, col), int16 HU or float32 as the reading asks, and notes.

    Raises InputError for damaged or missing pixels.
    """
    found = np.empty((len(slices), *slices[0].shape), np.float32 if reading.real else np.int16)
    notes: set[str] = set()
    packed: dict[int, bytes] = {}
    with quiet():
        for index, (one, dataset) in enumerate(_opened(slices)):
            stored = _stored(one, dataset)
            if isinstance(stored, bytes):
                packed[index] = stored
                continue
            found[index], more = _rescaled(where, one, stored, reading)
            notes |= set(more)
    for index, frame in zip(packed, decoded(list(packed.values())) if packed else [], strict=True):
        found[index], more = _rescaled(where, slices[index], _unpacked(slices[index], frame), reading)
        notes |= set(more)
    return found, tuple(sorted(notes))


def _opened(slices: Sequence[Slice]) -> Iterator[tuple[Slice, pydicom.Dataset]]:
    """Each slice with its file's dataset. Frames of one file that follow each other share one read."""
    opened: tuple[Path, pydicom.Dataset] | None = None
    for one in slices:
        if opened is None or opened[0] != one.path:
            opened = one.path, _dataset(one.path)
        yield one, opened[1]


def _dataset(path: Path) -> pydicom.Dataset:
    from pydicom import dcmread

    try:
        with Guarded(path) as file:
            return dcmread(file, force=True)
    except InputError:
        raise
    except Exception as error:  # pydicom may raise anything on damaged bytes; its message may quote the header
        raise damaged(path, f"it cannot be read: {type(error).__name__}") from error


def _stored(one: Slice, dataset: pydicom.Dataset) -> Array | bytes:
    """A slice's stored values (rows, columns), as integers or floats; for a compressed slice a DICOM file to decode."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    try:
        if syntax is not None and syntax.is_compressed and syntax.is_encapsulated:
            return _bare(one, dataset)
        return _plain(one, dataset)
    except InputError:
        raise
    except Exception as error:  # for damaged data, pydicom and numpy each raise other errors
        raise damaged(one.path, f"its pixels cannot be read: {type(error).__name__}") from error


def _plain(one: Slice, dataset: pydicom.Dataset) -> Array:
    _, little = dataset.original_encoding
    order = "<" if little else ">"
    name = next((name for name in (*_FLOATS, "PixelData") if name in dataset), None)
    if name is None:
        raise damaged(one.path, "it has no pixels")
    kind = _FLOATS[name].replace("<", order) if name in _FLOATS else f"{order}{_kind(one, dataset)}"
    frames = int(dataset.get("NumberOfFrames") or 1)
    size = int(np.prod(one.shape)) * np.dtype(kind).itemsize
    pixels = dataset[name].value
    if not frames * size <= len(pixels) <= frames * size + 1:
        raise damaged(one.path, f"it has {len(pixels)} bytes of pixels, its header states {frames * size}")
    values = np.frombuffer(pixels, kind, size // np.dtype(kind).itemsize, (one.frame or 0) * size).reshape(one.shape)
    return values if name in _FLOATS else _trimmed(values, dataset)


def _kind(one: Slice, dataset: pydicom.Dataset) -> str:
    """numpy's name of the stored values' type, without the byte order."""
    bits, stored, high = (int(dataset.get(name, 0)) for name in ("BitsAllocated", "BitsStored", "HighBit"))
    if bits not in (8, 16, 32) or not 1 <= stored <= bits or not stored - 1 <= high < bits:
        raise damaged(one.path, f"it says {bits} bits allocated, {stored} stored, the highest {high}")
    return f"{'i' if dataset.get('PixelRepresentation') == 1 else 'u'}{bits // 8}"


def _trimmed(values: Array, dataset: pydicom.Dataset) -> Array:
    """The values of the stored bits only, with their sign; other bits may hold an overlay or random values."""
    bits, stored, high = int(dataset.BitsAllocated), int(dataset.BitsStored), int(dataset.HighBit)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native if stored == bits else native << (bits - 1 - high) >> (bits - stored)


def _bare(one: Slice, dataset: pydicom.Dataset) -> bytes:
    """A compressed frame as a DICOM file of its pixels only; with the full header, ITK would invert or rescale them."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.uid import UID, CTImageStorage, RLELossless

    _kind(one, dataset)
    frames = int(dataset.get("NumberOfFrames") or 1)
    pixels = get_frame(dataset.PixelData, one.frame or 0, number_of_frames=frames)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax != RLELossless and not pixels.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise damaged(one.path, "its compressed pixels end before their end mark")
    bare = Dataset()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID = CTImageStorage
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID = UID("2.25.1")
    for name in _MODULE:
        setattr(bare, name, dataset[name].value)
    bare.SamplesPerPixel, bare.PhotometricInterpretation, bare.Modality = 1, "MONOCHROME2", "CT"
    bare.PixelData = encapsulate([pixels])
    bare["PixelData"].VR = "OB"
    bare["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    bare.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _unpacked(one: Slice, frame: Array | str) -> Array:
    """A decoded frame (rows, columns). Raises InputError where it could not be decoded, or has another size."""
    if isinstance(frame, str):
        raise damaged(one.path, frame)
    if frame.shape not in ((1, *one.shape), one.shape):  # a colour picture has one more axis
        raise damaged(one.path, "its compressed pixels have another size than its header says")
    return frame.reshape(one.shape)


def _rescaled(where: Path, one: Slice, stored: Array, reading: Reading) -> tuple[Array, tuple[str, ...]]:
    slope, intercept = one.rescale or (1.0, 0.0)
    found, notes = as_read(_times(stored, slope, intercept), where, reading)
    if reading.real or one.padding is None or stored.dtype.kind == "f":
        return found, notes
    low, high = sorted(_as_stored(value, stored.dtype) for value in one.padding)
    ends = [value * slope + intercept for value in (low, high)]
    if all(_AIRY[0] <= end <= _AIRY[1] for end in ends):
        return found, notes
    padded = (stored >= low) & (stored <= high)
    if not padded.any():
        return found, notes
    if ends[0] < _TISSUE[1] and ends[1] > _TISSUE[0]:
        return found, (*notes, f"{where}: its padding is stored as {ends[0]:g} HU, as tissue is; it was not changed")
    return np.where(padded, np.int16(AIR_HU), found), notes


def _times(stored: Array, slope: float, intercept: float) -> Array:
    """slope * stored + intercept: integers where all three are whole numbers, else float64."""
    if stored.dtype.kind == "f" or not (slope.is_integer() and intercept.is_integer()):
        return stored.astype(np.float64) * slope + intercept
    wide = stored.astype(np.int64 if stored.itemsize > 2 else np.int32)
    return wide + int(intercept) if slope == 1 else wide * int(slope) + int(intercept)


def _as_stored(value: int, kind: np.dtype) -> int:
    """A padding value in the pixels' own type: some headers give a signed value for unsigned pixels, or the reverse."""
    bits = 8 * kind.itemsize
    wrapped = value % (1 << bits)
    return wrapped - (1 << bits) if kind.kind == "i" and wrapped >= 1 << (bits - 1) else wrapped
