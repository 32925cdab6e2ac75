"""NRRD, attached and detached (.nrrd, .nhdr): the header by its definition, voxels from itself or files beside it."""

from __future__ import annotations

import re
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

_HEADER = 1 << 18  # bytes
_PACKED = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_UNITS_MM = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "um": 1e-3, "µm": 1e-3, "cm": 10.0, "m": 1e3}
_TOWARDS = {
    "left": (0, 1),
    "right": (0, -1),
    "posterior": (1, 1),
    "anterior": (1, -1),
    "superior": (2, 1),
    "inferior": (2, -1),
}
_SHORT = {"lps": "left-posterior-superior", "ras": "right-anterior-superior", "las": "left-anterior-superior"}
_WORDS = {"char": "1", "short": "2", "int": "4", "longlong": "8", "float": "f4", "double": "f8"}

Fields = dict[str, str]


def read(path: Path, reading: Reading) -> Volume:
    """The volume. Raises InputError where the header or the voxels are incomplete, or not of one volume."""
    fields, start, rest = _header(path)
    sizes = [int(number) for number in _numbers(path, fields, "sizes")]
    if len(sizes) != int(_numbers(path, fields, "dimension")[0]):
        raise damaged(path, f"dimension is {fields['dimension']} and sizes has {len(sizes)} numbers")
    steps = _vectors(path, fields, len(sizes))
    order = [axis for axis, step in enumerate(steps) if step is not None]
    flat = [axis for axis, step in enumerate(steps) if step is None]
    if len(order) < 3:
        raise InputError(f"{path} places {len(order)} of its {len(sizes)} axes in space; expected 3: export it again")
    shape = only_volume(path, [sizes[axis] for axis in order + flat])
    kind = _kind(path, fields)
    values = _voxels(path, fields, start, rest, check_shape(path, sizes, kind.itemsize)).view(kind)
    array, rounded = as_read(values.reshape(shape[::-1]), path, reading)
    spacing, axes, notes = _grid(path, fields, [steps[axis] for axis in order[:3]], reading)
    unit = _unit(path, fields)
    origin = np.zeros(3)
    if "spaceorigin" in fields:
        origin = _vector(path, fields["spaceorigin"].strip("() ")) * unit
    else:
        notes = (*notes, f"{path} states no space origin; positions are counted from its first voxel")
    to_lps, unsaid = _space(path, fields)
    geometry, turned = placed(path, spacing, axes * to_lps, origin * to_lps)
    return Volume(path, array, geometry, (*notes, *unsaid, *turned, *rounded))


def _header(path: Path) -> tuple[Fields, int, list[str]]:
    """The fields by their names, the byte where the header ends, and the names of a list of data files.

    Names of fields are in lower case, without spaces, "_" and "-".
    """
    with path.open("rb") as file:
        text = file.read(_HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", text):
        raise damaged(path, "it does not begin as NRRD does")
    fields: Fields = {}
    names: list[str] = []
    for line, end in list(lines_of(text))[1:]:
        if not line.strip():
            return fields, end, names
        if line.startswith("#") or ":=" in line:
            continue
        if fields.get("datafile", "").upper().startswith("LIST"):
            names.append(line.strip())
            continue
        key, colon, value = line.partition(":")
        key = re.sub(r"[\s_-]", "", key).lower()
        if not colon or not line.replace("\t", " ").isprintable():
            raise damaged(path, f"line {len(fields) + 2} of its header is no field")
        if key in fields:
            raise InputError(f"{path} states {key} twice; expected each field once: correct its header")
        fields[key] = value.strip()
    if "datafile" not in fields:
        raise damaged(path, "its header does not end")
    return fields, len(text), names


def _numbers(path: Path, fields: Fields, key: str) -> Array:
    try:
        found = np.array([float(word) for word in fields[key].split()])
    except (KeyError, ValueError) as error:
        raise damaged(path, f"{key} is missing or not made of numbers") from error
    if not 0 < len(found) <= 16:
        raise damaged(path, f"{key} has {len(found)} numbers")
    whole = key == "spacings" or (np.isfinite(found).all() and (found == np.rint(found)).all() and found.max() < 2**53)
    if not whole:
        raise damaged(path, f"{key} is not made of whole numbers")
    return found


def _vector(path: Path, text: str) -> Array:
    try:
        found = np.array([float(word) for word in text.split(",")])
    except ValueError as error:
        raise damaged(path, "a vector of its header is not made of numbers") from error
    if found.shape != (3,):
        raise InputError(f"{path} lies in a space of {len(found)} dimensions; expected 3")
    return found


def _vectors(path: Path, fields: Fields, rank: int) -> list[Array | float | None]:
    """Each axis' step: a vector (3,), or only a length, NaN where none is stated. None for an axis outside of space."""
    if "spacedirections" in fields:
        words = re.findall(r"\(([^)]*)\)|(none)", fields["spacedirections"])
        if len(words) != rank:
            raise damaged(path, f"it states {len(words)} space directions for {rank} axes")
        return [None if none else _vector(path, text) for text, none in words]
    lengths = list(_numbers(path, fields, "spacings")) if "spacings" in fields else [np.nan] * rank
    if len(lengths) != rank:
        raise damaged(path, f"it states {len(lengths)} spacings for {rank} axes")
    if rank > 3 and sum(not np.isnan(one) for one in lengths) == 3:
        return [None if np.isnan(one) else float(one) for one in lengths]
    return [float(one) for one in lengths]


def _grid(
    path: Path, fields: Fields, steps: list[Array | float | None], reading: Reading
) -> tuple[Array, Array, tuple]:
    """Spacing (3,) in mm, unit axes (3, 3) in the file's space, one per row; and notes."""
    unit = _unit(path, fields)
    taken = () if unit == 1 else (f"{path} measures in {fields['spaceunits']}; taken to mm",)
    if "spacedirections" in fields:
        vectors = np.array(steps, np.float64) * unit
        lengths = np.linalg.norm(vectors, axis=1)
        spacing, notes = spacing_of(path, lengths, reading)
        with np.errstate(all="ignore"):
            return spacing, vectors / lengths[:, None], (*notes, *taken)
    stated = np.array(steps, np.float64)
    spacing, notes = spacing_of(path, None if np.isnan(stated).all() else stated * unit, reading)
    unturned = f"{path} states no space directions; its axes are assumed to run left, back and up"
    return spacing, np.eye(3), (*notes, *taken, unturned)


def _unit(path: Path, fields: Fields) -> float:
    names = {name.strip().lower() for name in re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))} - {"", "???"}
    if len(names) > 1 or not names <= set(_UNITS_MM):
        raise InputError(f"{path} has space units {fields['spaceunits']}; expected one of {', '.join(_UNITS_MM)[2:]}")
    return _UNITS_MM[names.pop()] if names else 1.0


def _space(path: Path, fields: Fields) -> tuple[Array, tuple[str, ...]]:
    """Signs (3,) from the file's space to left-posterior-superior, and a note where the file names no such space."""
    name = fields.get("space", "").lower()
    words = _SHORT.get(name, name).split("-")
    places = [_TOWARDS.get(word) for word in words]
    if [place[0] for place in places if place] == [0, 1, 2]:
        return np.array([place[1] for place in places if place], float), ()
    if name and any(places):
        raise InputError(f"{path} lies in the space {name!r}; expected left-posterior-superior or another of 3 axes")
    return np.ones(3), (f"{path} names no space of the patient; it is assumed to be left-posterior-superior",)


def _kind(path: Path, fields: Fields) -> np.dtype:
    """The voxels' type; NRRD has many names for each."""
    name = fields.get("type", "").lower()
    word = re.sub(r"\b(signed|unsigned)\b|_t$|\s", "", name)
    unsigned = name.startswith(("unsigned", "u"))
    word = word.removesuffix("int") if word not in ("int", "uint") else word
    word = word.removeprefix("u") if unsigned and word != "unsigned" else word
    sized = re.fullmatch(r"(?:int)?(8|16|32|64)", word)
    size = str(int(sized[1]) // 8) if sized else _WORDS.get(word or "int", "")
    if not size:
        raise InputError(f"{path} has voxels of type {name!r}; expected whole numbers of 8 to 64 bits, float or double")
    endian = fields.get("endian", "little" if size == "1" else "").lower()
    if endian not in ("little", "big"):
        raise damaged(path, "it states no endian, little or big")
    code = size if size.startswith("f") else f"{'u' if unsigned else 'i'}{size}"
    return np.dtype(("<" if endian == "little" else ">") + code)


def _voxels(path: Path, fields: Fields, start: int, rest: list[str], size: int) -> Array:
    """The voxels' bytes (size,) uint8."""
    encoding = fields.get("encoding", "").lower()
    if encoding not in _PACKED:
        raise InputError(
            f"{path} encodes its voxels as {encoding!r}; expected one of {', '.join(_PACKED)}: save it again"
        )
    name = fields.get("datafile", "")
    skip = int(_numbers(path, fields, "byteskip")[0]) if "byteskip" in fields else 0
    if fields.get("lineskip", "0") != "0" or skip < -1 or (skip and _PACKED[encoding]):
        raise InputError(f"{path} skips lines or packed bytes before its voxels; expected none: save it again")
    several = rest if name.upper().startswith("LIST") else pattern_names(path, name)
    if several is not None:
        if _PACKED[encoding] or skip < 0:
            raise InputError(f"{path} names several compressed files; expected plain ones: save it as one file")
        return joined(path, several, size, skip)
    file, start = (beside(path, name), 0) if name else (path, start)
    if _PACKED[encoding]:
        return unpacked(file, start, size, _PACKED[encoding])
    return plain(file, file.stat().st_size - size if skip == -1 else start + skip, size)
