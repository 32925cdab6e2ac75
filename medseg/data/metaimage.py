"""MetaImage (.mhd and its files, .mha): the header by MetaIO's rules, voxels from regular files beside it or itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.data.hounsfield import as_read
from medseg.data.pixels import (
    beside,
    check_shape,
    damaged,
    joined,
    lines_of,
    only_volume,
    pattern_names,
    plain,
    unpacked,
)
from medseg.data.placing import placed, spacing_of
from medseg.data.voxels import Volume
from medseg.errors import InputError
from medseg.task import Array, Reading

_HEADER = 1 << 16  # bytes
_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_SPELLINGS = {  # other names of a field, and the name used here
    **{"position": "offset", "origin": "offset", "orientation": "transformmatrix", "rotation": "transformmatrix"},
    **{"elementbyteordermsb": "binarydatabyteordermsb", "elementnumberofchannel": "elementnumberofchannels"},
}
_UNITS_MM = {"": 1.0, "?": 1.0, "mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1000.0}

Fields = dict[str, str]


def read(path: Path, reading: Reading) -> Volume:
    """The volume. Raises InputError where the header or the voxels are incomplete, or not of one volume."""
    fields, start, rest = _header(path)
    size = [int(number) for number in _numbers(path, fields, "dimsize")]
    rank = int(_numbers(path, fields, "ndims", 1)[0])
    if rank != len(size):
        raise damaged(path, f"NDims is {rank} and DimSize has {len(size)} numbers")
    channels = (
        int(_numbers(path, fields, "elementnumberofchannels", 1)[0]) if "elementnumberofchannels" in fields else 1
    )
    columns, rows, slices = only_volume(path, size, channels)
    name = fields.get("elementtype", "")
    if name.upper() not in _TYPES:
        raise InputError(f"{path} has voxels of type {name!r}; expected one of {', '.join(_TYPES)}")
    if not _true(fields, "binarydata", True):
        raise InputError(f"{path} holds its voxels as text; expected BinaryData = True: save it again")
    kind = np.dtype((">" if _true(fields, "binarydatabyteordermsb", False) else "<") + _TYPES[name.upper()])
    values = _voxels(path, fields, start, rest, check_shape(path, size, kind.itemsize))
    array, rounded = as_read(values.view(kind).reshape(slices, rows, columns), path, reading)
    spacing, stated = _spacing(path, fields, rank, reading)
    axes = np.eye(3)
    if "transformmatrix" in fields:
        axes = _numbers(path, fields, "transformmatrix", rank * rank).reshape(rank, rank)[:3, :3]
    origin = _numbers(path, fields, "offset", rank)[:3] if "offset" in fields else np.zeros(3)
    geometry, turned = placed(path, spacing, axes, origin * _unit(path, fields))
    unplaced = () if "offset" in fields else (f"{path} states no Offset; positions are counted from its first voxel",)
    return Volume(path, array, geometry, (*stated, *turned, *unplaced, *rounded))


def _header(path: Path) -> tuple[Fields, int, list[str]]:
    """The fields by their names in lower case, the byte where the header ends, and the lines after it."""
    with path.open("rb") as file:
        text = file.read(_HEADER)
    fields: Fields = {}
    for line, end in lines_of(text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        at = min((place for place in (line.find("="), line.find(":")) if place >= 0), default=-1)
        key = line[:at].strip().lower()
        key = _SPELLINGS.get(key, key)
        if at < 0 or not line.replace("\t", " ").isprintable():
            raise damaged(path, f"line {len(fields) + 1} of its header is no field")
        if key in fields:
            raise InputError(f"{path} states {key} twice; expected each field once: correct its header")
        fields[key] = line[at + 1 :].strip()
        if key == "elementdatafile":
            return fields, end, [more.strip() for more, _ in lines_of(text[end:]) if more.strip()]
    raise damaged(path, "its header ends without ElementDataFile")


def _numbers(path: Path, fields: Fields, key: str, count: int | None = None) -> Array:
    words = fields.get(key, "").split()
    try:
        found = np.array([float(word) for word in words])
    except ValueError as error:
        raise damaged(path, f"{key} is not made of numbers") from error
    if len(found) == 0 or (count is not None and len(found) != count) or len(found) > 100:
        raise damaged(path, f"{key} has {len(found)} numbers, not {count or 'some'}")
    if key in ("dimsize", "ndims", "elementnumberofchannels", "headersize", "compresseddatasize") and not (
        np.isfinite(found).all() and (found == np.rint(found)).all() and (abs(found) < 2**53).all()
    ):
        raise damaged(path, f"{key} is not made of whole numbers")
    return found


def _true(fields: Fields, key: str, otherwise: bool) -> bool:
    return fields[key][:1] in ("T", "t", "1") if key in fields else otherwise


def _unit(path: Path, fields: Fields) -> float:
    name = fields.get("distanceunits", "").lower()
    if name not in _UNITS_MM:
        raise InputError(f"{path} measures in {name!r}; expected DistanceUnits of {', '.join(filter(None, _UNITS_MM))}")
    return _UNITS_MM[name]


def _spacing(path: Path, fields: Fields, rank: int, reading: Reading) -> tuple[Array, tuple[str, ...]]:
    key = next((key for key in ("elementspacing", "elementsize") if key in fields), None)
    if key is None:
        return spacing_of(path, None, reading)
    unit = _unit(path, fields)
    spacing, notes = spacing_of(path, _numbers(path, fields, key, rank)[:3] * unit, reading)
    if key == "elementsize":
        notes = (*notes, f"{path} states ElementSize and no ElementSpacing; its voxels are assumed to touch")
    return spacing, notes if unit == 1 else (*notes, f"{path} measures in {fields['distanceunits']}; taken to mm")


def _voxels(path: Path, fields: Fields, start: int, rest: list[str], size: int) -> Array:
    """The voxels' bytes (size,) uint8."""
    name = fields["elementdatafile"]
    packed = _true(fields, "compresseddata", False)
    skip = int(_numbers(path, fields, "headersize", 1)[0]) if "headersize" in fields else 0
    if name.upper() == "LOCAL":
        return _one(path, path, fields, start, size) if packed else plain(path, start, size)
    several = rest if name.upper().split()[:1] == ["LIST"] else pattern_names(path, name)
    if several is not None:
        if packed or skip < 0:
            raise InputError(f"{path} names several compressed files; expected plain ones: save it as one file")
        return joined(path, several, size, skip)
    if rest:
        raise InputError(f"{path} goes on after ElementDataFile; expected that line to be its last: correct its header")
    raw = beside(path, name)
    if packed:
        return _one(path, raw, fields, 0, size)
    return plain(raw, raw.stat().st_size - size if skip == -1 else skip, size) if skip >= -1 else _bad_skip(path, skip)


def _bad_skip(path: Path, skip: int) -> Array:
    raise damaged(path, f"HeaderSize is {skip}")


def _one(path: Path, file: Path, fields: Fields, start: int, size: int) -> Array:
    """The unpacked bytes (size,) uint8 of a file's compressed voxels, which start at byte `start`."""
    if "compresseddatasize" in fields:
        promised = int(_numbers(path, fields, "compresseddatasize", 1)[0]) + start
        found = file.stat().st_size
        if found < promised:
            raise InputError(f"{file} has {found} bytes; expected {promised}: it is truncated, copy it again")
    return unpacked(file, start, size)
