"""Guarded opening of DICOM files: a deflated file that would unpack to far too much is refused."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from medseg.errors import InputError

_MOST_TIMES = 50  # times the file's own size: a CT deflates to a third, one with much padding to a fiftieth
_FREE_BYTES = 64 << 20  # any file may unpack to this many bytes more
_PIECE = 1 << 20


class Guarded(io.BufferedReader):
    """A file for pydicom, which reads the whole rest at once only in a deflated file, and then unpacks all of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._path = path

    def read(self, size: int | None = -1, /) -> bytes:
        """The bytes. Raises InputError where the whole rest was requested and would unpack to too much."""
        found = super().read(size)
        if size is None or size < 0:
            _check(self._path, found)
        return found


def _check(path: Path, packed: bytes) -> None:
    """Unpack piece by piece and keep nothing. Data that is not deflated passes: pydicom judges it."""
    most, stream, size = _MOST_TIMES * len(packed) + _FREE_BYTES, zlib.decompressobj(-zlib.MAX_WBITS), 0
    while packed and not stream.eof:
        try:
            size += len(stream.decompress(packed, _PIECE))
        except zlib.error:
            return
        packed = stream.unconsumed_tail
        if size > most:
            raise InputError(
                f"{path} is deflated and unpacks to over {most >> 20} MiB; expected a CT slice: export it again"
            )
