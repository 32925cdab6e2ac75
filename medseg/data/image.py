"""Pictures as arrays, with every bit they have: PNG and TIFF of 8 and 16 bits, JPEG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from medseg.errors import InputError
from medseg.task import Array


def read_image(path: Path) -> Array:
    """A picture as it is stored: (row, col) or (row, col, channel: RGB or RGBA), uint8 or uint16.

    An EXIF rotation is not applied: masks and outlines are drawn over the stored pixels.
    Raises InputError where the file is missing or is no picture.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a picture: check the path")
    return decode_image(path.read_bytes(), str(path))


def decode_image(content: bytes, name: str) -> Array:
    """A picture of its file's bytes, as `read_image`; `name` is what errors call it."""
    picture = None
    if content:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise InputError(f"{name}: cannot be decoded; expected a whole PNG, JPEG or TIFF picture: replace the file")
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return np.asarray(picture)


def write_png(path: Path, picture: Array) -> None:
    """Write (row, col) uint8 or uint16, or (row, col, 3) uint8 RGB, as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    if not cv2.imwrite(str(path), stored):
        raise InputError(f"{path}: the picture could not be written; expected a folder that takes files: check it")
