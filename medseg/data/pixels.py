"""The voxels' bytes that a volume's header promises, no fewer and no more, from regular files, compressed or not."""

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

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS  # zlib chooses by the first bytes
_PIECE = 1 << 20  # bytes
_MOST_AXIS = 1 << 15  # voxels
_MOST_BYTES = 16 << 30
_MOST_TIMES = 200  # times the file's own size: a CT packs to a third, one with much padding to a fiftieth
_FREE_BYTES = 64 << 20  # any file may unpack to this many bytes more
_PATTERN = re.compile(r"(?P<name>.*%0?\d*d.*?)\s+(?P<numbers>-?\d+\s+-?\d+\s+-?\d+(\s+\d+)?)")
_MOST_FILES = 1 << 15


class _Stream(Protocol):
    """The common interface of the decompressors of zlib and bz2."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


def damaged(path: Path, why: str) -> InputError:
    """The error for a file that is incomplete or damaged."""
    return InputError(f"{path} is damaged: {why}; expected a whole file: copy it again")


def check_shape(path: Path, shape: Sequence[int], itemsize: int) -> int:
    """The size in bytes of a volume of this shape. Raises InputError for an empty or far too large shape."""
    size = math.prod(shape) * itemsize
    if min(shape) < 1 or max(shape) > _MOST_AXIS or size > _MOST_BYTES:
        shown = " x ".join(map(str, shape))
        raise damaged(path, f"its header states {shown} voxels")
    return size


def only_volume(path: Path, shape: Sequence[int], channels: int = 1) -> tuple[int, int, int]:
    """The first three sizes; all others must be 1. Raises InputError where it is not a single volume with 1 channel."""
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
    """The unpacked bytes, (size,) uint8, of the compressed data from `start` to the file's end, in one or more members.

    Every checksum is tested. Raises InputError where the data is damaged or cut short, or has fewer or more bytes. At
    most one byte more than `size` is unpacked.
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
    """Unpack a piece and append its bytes to `found`. Returns the decompressor for the next piece."""
    size, packed_by = wanted
    while piece:
        if stream.eof:
            if not piece.strip(b"\0"):  # zeros as padding, from a tape or a disk
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
    """The file's first `size` bytes, or fewer in a shorter file; of a gzip, of its unpacked content."""
    with path.open("rb") as file:
        first = file.read(size)
        if not is_gzip(first):
            return first
        try:
            return zlib.decompressobj(_ZLIB_OR_GZIP).decompress(first + file.read(_PIECE), size)
        except zlib.error as error:
            raise damaged(path, f"its gzip does not unpack ({error})") from error


def is_gzip(first: bytes) -> bool:
    """Whether a file that begins with these bytes is a gzip; its name does not matter."""
    return first[:2] == b"\x1f\x8b"


def beside(header: Path, name: str) -> Path:
    """The regular file of this name in the header's folder.

    Raises InputError for a name that leads to another folder, and where there is no such file.
    """
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
    """The names that a pattern stands for ("s%02d.raw 1 12 1": first, last, step); None for a simple name."""
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
    """The bytes (size,) uint8 of files beside the header, one after the other; each file has an equal part."""
    if not names or size % len(names):
        raise damaged(header, f"it names {len(names)} files, which cannot hold its {size} bytes in equal parts")
    return np.concatenate([plain(beside(header, name), skip, size // len(names)) for name in names])


def lines_of(text: bytes) -> Iterator[tuple[str, int]]:
    """Each line of a header without its line end, with the position in the bytes where the next line starts."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", at)
        end = len(text) if end < 0 else end
        yield text[at:end].decode("latin-1").rstrip("\r"), min(end + 1, len(text))
        at = end + 1
