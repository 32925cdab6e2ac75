"""Volumes in files of their own, through SimpleITK: MetaImage, NRRD and NIfTI."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from medseg.data.hounsfield import whole_hounsfield
from medseg.data.voxels import Volume
from medseg.errors import InputError
from medseg.task import Array, Geometry, Reading

_BYTES = {"UCHAR": 1, "CHAR": 1, "USHORT": 2, "SHORT": 2, "FLOAT": 4, "INT": 4, "UINT": 4, "DOUBLE": 8}  # a voxel's
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS  # whichever its first bytes say
_PIECE = 1 << 20  # bytes
_DEFLATE = 1032  # how often its compression can shrink zeros
_MOST_VOXELS = 1 << 15  # along an axis


def read_file(path: Path, _reading: Reading) -> Volume:
    """The volume in a file. Raises InputError where it is truncated, not three-dimensional, or holds NaN."""
    image = _read_file(path)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        found = f"{image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} channels"
        raise InputError(f"{path} has {found}; expected 3 dimensions and 1 channel: pick one volume of it")
    array, notes = whole_hounsfield(sitk.GetArrayFromImage(image), path)
    return Volume(path, array, _geometry(image, path), notes)


def _read_file(path: Path) -> sitk.Image:
    _check_raw(path)
    _check_local(path)
    _check_stream(path)
    _check_nifti(path)
    try:
        _check_size(path)
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be read ({_reason(error)}); the file is damaged or truncated: copy it again"
        ) from error


def _check_raw(path: Path) -> None:
    """A MetaImage header whose pixel file is absent or has not the bytes that it promises is refused by name."""
    if path.suffix.lower() != ".mhd":
        return
    header = dict(line.split("=", 1) for line in path.read_text(errors="replace").splitlines() if "=" in line)
    fields = {key.strip(): value.strip() for key, value in header.items()}
    name = fields.get("ElementDataFile", "")
    if name in ("", "LOCAL", "LIST"):
        return
    raw = path.parent / name
    if "\0" in name or not raw.is_file():
        raise InputError(f"{path} names {name}, which is not beside it; expected both files: copy {raw.name} too")
    found, promised = raw.stat().st_size, _promised_bytes(path, fields)
    if promised is not None and found < promised:
        raise InputError(f"{raw} has {found} bytes; expected {promised}: it is truncated, copy it again")
    if promised is not None and found > promised and "HeaderSize" not in fields:
        raise InputError(f"{raw} has {found} bytes; {path.name} promises {promised}: copy both files again")


def _check_local(path: Path) -> None:
    """An .mha holds its own pixels; sent elsewhere for them by a damaged header, ITK crashes."""
    if path.suffix.lower() != ".mha":
        return
    with path.open("rb") as file:
        data = re.search(rb"^ElementDataFile *= *(.*?)\r?\n", file.read(_PIECE), re.MULTILINE)
    if not data or data[1] != b"LOCAL":
        raise InputError(f"{path} is a damaged header; expected ElementDataFile = LOCAL, then pixels: copy it again")


def _check_stream(path: Path) -> None:
    """A compressed stream is read once to its checksum: ITK makes a volume of a broken one, and says nothing."""
    for file, start in _streams(path):
        stream = zlib.decompressobj(_ZLIB_OR_GZIP)
        try:
            with file.open("rb") as content:
                content.seek(start)
                while not stream.eof and (piece := content.read(_PIECE)):
                    stream.decompress(piece)
        except zlib.error as error:
            raise InputError(f"{file} is damaged ({error}); expected pixels that decompress: copy it again") from error
        if not stream.eof:
            raise InputError(f"{file} is truncated; expected the end of its compressed pixels: copy it again")


def _streams(path: Path) -> Iterator[tuple[Path, int]]:
    """The file of a volume's compressed pixels, and where in it they start; none where they are not compressed."""
    name = path.name.lower()
    with path.open("rb") as file:
        head = file.read(_PIECE)
    if name.endswith(".nii.gz"):
        yield path, 0
    elif name.endswith(".nrrd") and re.search(rb"^encoding: *gz", head, re.MULTILINE) and b"\n\n" in head:
        yield path, head.index(b"\n\n") + 2
    elif re.search(rb"^CompressedData *= *True", head, re.MULTILINE):
        data = re.search(rb"^ElementDataFile *= *(.*?)\r?\n", head, re.MULTILINE)
        if data and data[1] == b"LOCAL":
            yield path, data.end()
        elif data and name.endswith(".mhd"):
            yield path.parent / data[1].decode(errors="replace"), 0


def _promised_bytes(path: Path, fields: dict[str, str]) -> int | None:
    """How many bytes of pixels a MetaImage header promises; None where it does not tell."""
    size = _BYTES.get(fields.get("ElementType", "").removeprefix("MET_"))
    try:
        if fields.get("CompressedData", "False") == "True":
            return int(fields["CompressedDataSize"]) if "CompressedDataSize" in fields else None
        voxels = math.prod(int(n) for n in fields.get("DimSize", "").split())
        return voxels * size * int(fields.get("ElementNumberOfChannels", "1")) if size else None
    except ValueError as error:
        raise InputError(f"{path} is a damaged header ({error}); expected whole numbers: copy it again") from error


def _check_size(path: Path) -> None:
    """A header that promises more voxels than its file can hold, however well compressed, is refused unallocated."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = reader.GetSize()
    held = sum(file.stat().st_size for file in path.parent.glob(f"{path.stem}*")) * _DEFLATE
    if math.prod(size) > held or max(size) > _MOST_VOXELS:
        shape = " x ".join(map(str, size))
        raise InputError(f"{path} promises {shape} voxels, which its bytes cannot hold: it is damaged, copy it again")


def _check_nifti(path: Path) -> None:
    """NaN is looked for before ITK reads the file, since its NIfTI reader turns NaN into 0 without a word."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        values = np.asarray(image.dataobj) if image.get_data_dtype().kind == "f" else np.zeros(0)
    except Exception as error:
        raise InputError(f"{path} cannot be read ({error}); the file is damaged or truncated: copy it again") from error
    _check_finite(values, path)


def _check_finite(values: Array, path: Path) -> None:
    if bad := int((~np.isfinite(values)).sum()):
        raise InputError(f"{path} holds {bad} NaN or infinite voxels; expected finite HU: fill them before inference")


def _geometry(image: sitk.Image, path: Path) -> Geometry:
    spacing = image.GetSpacing()
    if not (np.isfinite(spacing).all() and min(spacing) > 0):
        raise InputError(f"{path} has voxel spacing {spacing} mm; expected three positive numbers: mend its header")
    return Geometry(spacing, image.GetOrigin(), image.GetDirection())


def _reason(error: Exception) -> str:
    """The last line that says something, without SimpleITK's source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split("): ")[-1] if lines else type(error).__name__
