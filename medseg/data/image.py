"""Picture files as arrays, with their full bit depth."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from medseg.data.encoded import MAX_BYTES, Kind, check, decode
from medseg.errors import InputError
from medseg.task import Array

GREY8 = Kind("an 8-bit grey PNG or TIFF", ("PNG", "TIFF"), "L")


def read_image(path: Path, kind: Kind) -> Array:
    """The picture in a file: (row, col) for grey, (row, col, 3) for RGB; uint16 for kinds of 16 bits, else uint8.

    Raises InputError, with the file's name, where it is missing, not a picture of this kind, cut short or too large.
    """
    content = read_bytes(path)
    check(content, kind, str(path))
    return decode(content, kind, str(path))


def pictures_in(path: Path, suffixes: Collection[str]) -> list[Path]:
    """The path itself if it is not a folder, else every picture in the folder, sorted.

    Raises InputError where a folder has no picture.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and file.name[0] != ".")
    if not files:
        raise InputError(f"{path} holds no pictures; expected {', '.join(sorted(suffixes))} files: check the folder")
    return files


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises InputError where it does not exist, is too large, or cannot be read."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a picture: check the path, or copy the file there")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            f"{path}: has {path.stat().st_size} bytes; expected a picture of at most {MAX_BYTES >> 20} MiB"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a picture: check the file") from error
