"""The bytes that a volume's header promises: all of them and no more, from plain files beside it, packed or not."""

from __future__ import annotations

import bz2
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medseg.data.companions import is_plain
from medseg.errors import InputError
from medseg.task import Array

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS  # whichever its first bytes say
_PIECE = 1 << 20  # bytes
_MOST_AXIS = 1 << 15  # voxels
_MOST_BYTES = 16 << 30
_MOST_TIMES = 200  # a CT packs to a third, one with much padding to a fiftieth
_FREE_BYTES = 64 << 20  # that anything may unpack to
_PATTERN = re.compile(r"(?P<name>.*%0?\d*d.*?)\s+(?P<numbers>-?\d+\s+-?\d+\s+-?\d+(\s+\d+)?)")
_MOST_FILES = 1 << 15


class _Stream(Protocol):
    """What zlib's and bz2's decompressors share."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


def damaged(path: Path, why: str) -> InputError:
    """The refusal of a file that is not whole."""
    return InputError(f"{path} is damaged: {why}; expected a whole file: copy it again")


def check_shape(path: Path, shape: Sequence[int], itemsize: int) -> int:
    """How many bytes a volume of this shape takes. Raises InputError for a shape that no volume has."""
    size = math.prod(shape) * itemsize
    if min(shape) < 1 or max(shape) > _MOST_AXIS or size > _MOST_BYTES:
        shown = " x ".join(map(str, shape))
        raise damaged(path, f"its header states {shown} voxels")
    return size


def only_volume(path: Path, shape: Sequence[int], channels: int = 1) -> tuple[int, int, int]:
    """The shape without the axes of length 1 behind its third. Raises InputError where it is no single volume."""
    if len(shape) < 3 or channels != 1:
        found = f"{len(shape)} dimensions and {channels} channels"
        raise InputError(f"{path} has {found}; expected 3 dimensions and 1 channel: save one volume of it")
    if (several := math.prod(shape[3:])) != 1:
        sizes = " x ".join(map(str, shape))
        raise InputError(f"{path} holds {several} volumes ({sizes}); expected one: save only the one that you mean")
    return shape[0], shape[1], shape[2]


def plain(path: Path, start: int, size: int) -> Array:
    """The file's bytes from `start` to its end, (size,) uint8. Raises InputError where they are fewer or more."""
    found = path.stat().st_size
    if found < start + size:
        raise InputError(f"{path} has {found} bytes; expected {start + size}: it is truncated, copy it again")
    if found > start + size:
        raise InputError(f"{path} has {found} bytes; its header states {start + size}: copy the files again")
    return np.fromfile(path, np.uint8, size, offset=start)


def unpacked(path: Path, start: int, size: int, packed_by: str = "gzip") -> Array:
    """The bytes, (size,) uint8, of compressed data from `start` to the file's end: every member, to its checksum.

    Raises InputError where it is damaged or cut, or holds fewer or more bytes. No more than `size` are ever unpacked.
    """
    held = path.stat().st_size
    if size > _MOST_TIMES * held + _FREE_BYTES:
        raise damaged(path, f"its {held} bytes promise {size}, and no CT compresses so well")
    found = bytearray()
    stream = _stream(packed_by)
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(_PIECE):
            stream = _fed(path, stream, piece, found, (size, packed_by))
    if not stream.eof:
        raise InputError(f"{path} is truncated; expected the end of its compressed voxels: copy it again")
    if len(found) < size:
        raise damaged(path, f"it unpacks to {len(found)} bytes, its header states {size}")
    return np.frombuffer(found, np.uint8)


def _fed(path: Path, stream: _Stream, piece: bytes, found: bytearray, wanted: tuple[int, str]) -> _Stream:
    """The decompressor after a piece; `found` has grown by what it gave."""
    size, packed_by = wanted
    while piece:
        if stream.eof:
            if not piece.strip(b"\0"):  # padding of a tape or a disk
                return stream
            stream = _stream(packed_by)
        try:
            found += stream.decompress(piece, size - len(found) + 1)
        except (zlib.error, OSError) as error:
            raise damaged(path, f"its compressed voxels do not unpack ({error})") from error
        if len(found) > size:
            raise damaged(path, f"it unpacks to more than the {size} bytes that its header states")
        piece = stream.unused_data if stream.eof else getattr(stream, "unconsumed_tail", b"")
    return stream


def _stream(packed_by: str) -> _Stream:
    stream: Any = bz2.BZ2Decompressor() if packed_by == "bzip2" else zlib.decompressobj(_ZLIB_OR_GZIP)
    return stream


def head(path: Path, size: int) -> bytes:
    """The file's first bytes, unpacked where it is a gzip."""
    with path.open("rb") as file:
        first = file.read(size)
        if not is_gzip(first):
            return first
        try:
            return zlib.decompressobj(_ZLIB_OR_GZIP).decompress(first + file.read(_PIECE), size)
        except zlib.error as error:
            raise damaged(path, f"its gzip does not unpack ({error})") from error


def is_gzip(first: bytes) -> bool:
    """Whether a file that begins like this is a gzip, whatever its name."""
    return first[:2] == b"\x1f\x8b"


def beside(header: Path, name: str) -> Path:
    """The plain file of this name beside the header. Raises InputError for a name that leads elsewhere, or to none."""
    plain_name = name.removeprefix("./")
    if not plain_name or "\0" in name or plain_name in (".", "..") or "/" in plain_name or "\\" in plain_name:
        raise InputError(f"{header} names {name!r} for its voxels; expected a file beside it: put both in one folder")
    path = header.parent / plain_name
    if not path.exists():
        raise InputError(f"{header} names {name}, which is not beside it; expected both files: copy {name} too")
    if not is_plain(path):
        raise InputError(
            f"{header} names {name} for its voxels, which is not a regular file; expected one: copy it there"
        )
    return path


def pattern_names(header: Path, text: str) -> list[str] | None:
    """The names that a pattern makes ("s%02d.raw 1 12 1": first, last, step); None for a plain name."""
    found = _PATTERN.fullmatch(text.strip())
    if not found:
        return None
    first, last, step = (int(word) for word in found["numbers"].split()[:3])
    if step == 0 or (last - first) // step >= _MOST_FILES:
        raise damaged(header, f"its pattern of files counts from {first} to {last} in steps of {step}")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    place = re.search(r"%(0?)(\d*)d", found["name"])
    if place is None or len(place[2]) > 2 or found["name"].count("%") > 1:
        raise damaged(header, "its pattern of files is not valid")
    width = int(place[2] or 0)
    return [found["name"].replace(place[0], f"{n:0{width}d}" if place[1] else f"{n:{width}d}") for n in numbers]


def joined(header: Path, names: Sequence[str], size: int, skip: int = 0) -> Array:
    """The bytes (size,) uint8 of files beside the header, an equal part each, one behind the other."""
    if not names or size % len(names):
        raise damaged(header, f"it names {len(names)} files, which cannot hold its {size} bytes in equal parts")
    return np.concatenate([plain(beside(header, name), skip, size // len(names)) for name in names])


def lines_of(text: bytes) -> Iterator[tuple[str, int]]:
    """A header's lines without their ends, and where in the bytes each one's successor starts."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", at)
        end = len(text) if end < 0 else end
        yield text[at:end].decode("latin-1").rstrip("\r"), min(end + 1, len(text))
        at = end + 1
