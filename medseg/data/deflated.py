"""DICOM files opened so that a deflated one unpacks to no more than a series takes."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from medseg.errors import InputError

_MOST_TIMES = 50  # its own size: a CT deflates to a third, one with much padding to a fiftieth
_FREE_BYTES = 64 << 20  # that any file may unpack to
_PIECE = 1 << 20


class Guarded(io.BufferedReader):
    """A file for pydicom, which reads all that is left at once only where that is deflated, and unpacks it whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._path = path

    def read(self, size: int | None = -1, /) -> bytes:
        """The bytes. Raises InputError where all that is left was asked for, and it would unpack to too much."""
        found = super().read(size)
        if size is None or size < 0:
            _check(self._path, found)
        return found


def _check(path: Path, packed: bytes) -> None:
    """Unpack piece by piece, keeping nothing. Data that is not deflated at all is left to the reader."""
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
