"""Encoded pictures (PNG, JPEG, TIFF) as bytes: checked before anything is allocated, and decoded as viewers show them.

A picture "as it is shown" is turned as its EXIF or TIFF orientation says.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from medseg.data.grid import png
from medseg.data.numpy_or_torch import host
from medseg.data.orientation import SIDEWAYS, orientation, upright
from medseg.data.whole import TIFF, flaw, is_plain_tiff
from medseg.errors import InputError
from medseg.task import Array

MAX_SIDE = 8192  # pixels; more than any slide picture or slice has, but small enough for the memory
MAX_BYTES = 64 << 20
MAX_AREA = 32 << 20  # pixels of one picture: 5792 x 5792, or 8192 x 4096
MAX_PIXELS = 256 << 20  # of all pictures of a request together: 1,024 slices of 512 x 512
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A mode's bits and colour type in a PNG's header.
_PNG_DEPTHS = {"RGB": b"\x08\x02", "RGB;16": b"\x10\x02", "L": b"\x08\x00", "I;16": b"\x10\x00"}
_DEEP = ";16"  # the end of the modes with 16 bits per channel
_ANY_DEPTH = ("1", "P")  # modes that any number of bits may have: black and white, and a palette


@dataclass(frozen=True)
class Kind:
    """The kind of picture that a task expects."""

    words: str  # for error messages
    formats: tuple[str, ...]  # as Pillow names them
    mode: str  # as Pillow names it, or "RGB;16", which Pillow does not have


GREY16 = Kind("a 16-bit grey PNG", ("PNG",), "I;16")
RGB = Kind("an 8-bit RGB JPEG, PNG or TIFF", ("JPEG", "PNG", "TIFF"), "RGB")
_ANY = Kind("a JPEG, PNG or TIFF", ("JPEG", "PNG", "TIFF"), "")
RGB16 = Kind("a 16-bit RGB PNG or TIFF", ("PNG", "TIFF"), "RGB;16")


def check(data: bytes, kind: Kind, name: str = "picture") -> tuple[int, int]:
    """Height and width in pixels, as it is shown, of a complete encoded picture. No memory of its size is allocated.

    Raises InputError where the bytes are not a picture of this kind, cut short, damaged, or declare too large a size.
    """
    with _known(data, kind, name) as picture:
        size = _shown(data, picture)  # before flaw(), which may change a JPEG's size
        wrong = flaw(data, picture)
        if wrong:
            raise InputError(
                f"{name} {wrong}; expected a complete {picture.format} in its {len(data)} bytes: copy it again"
            )
        return size


def declared(data: bytes, kind: Kind, name: str = "picture") -> tuple[int, int]:
    """Height and width in pixels, as it is shown, from the header alone; the rest of the bytes may be cut short.

    Raises InputError where the bytes are not a picture of this kind, or declare too large a size.
    """
    with _known(data, kind, name) as picture:
        return _shown(data, picture)


def orientation_of(data: bytes, kind: Kind, name: str = "picture") -> int:
    """The picture's EXIF orientation, 1 to 8. Raises InputError where the bytes are not a picture of this kind."""
    with _known(data, kind, name) as picture:
        return orientation(data, picture)


def portable(data: bytes, kind: Kind, name: str = "picture") -> bytes:
    """The picture as bytes that all decoders read the same way: its own bytes, or a PNG of it as it is shown.

    Pictures with an orientation become PNG; so do TIFFs whose pixels are compressed, tiled, in planes or of 16 bits.
    Raises InputError where the bytes are not a picture of this kind, cannot be decoded, or the PNG is over MAX_BYTES.
    """
    with _known(data, kind, name) as picture:
        plain = picture.format != "TIFF" or (is_plain_tiff(picture) and not kind.mode.endswith(_DEEP))
        if plain and orientation(data, picture) == 1:
            return data
    made = png(decode(data, kind, name))
    if len(made) > MAX_BYTES:
        raise InputError(
            f"{name} has {len(made)} bytes as PNG; expected at most {MAX_BYTES >> 20} MiB: make it smaller"
        )
    return made


def check_total(sizes: Sequence[tuple[int, int]], names: str = "pictures") -> None:
    """Raise InputError where pictures of these sizes have more than MAX_PIXELS together.

    Each picture counts as a square whose side is its longer side.
    """
    if sum(max(size) ** 2 for size in sizes) > MAX_PIXELS:
        largest = max(sizes)
        raise InputError(
            f"{len(sizes)} {names} of up to {largest[0]} x {largest[1]} pixels are too many; "
            f"expected {MAX_PIXELS >> 20} Mi pixels together: ask for fewer at a time"
        )


def too_large(sizes: Array) -> str:
    """What is wrong with a tensor (n, 2) of heights and widths, as words to put after its name; "" if nothing is."""
    area = int(np.prod(host(sizes).astype(np.int64), axis=1).max(initial=0))
    return f"states {area} pixels; expected at most {MAX_AREA >> 20} Mi per picture" if area > MAX_AREA else ""


@contextmanager
def _known(data: bytes, kind: Kind, name: str) -> Iterator[Image.Image]:
    """The picture with only its header read, if it is of this kind and size."""
    if not 0 < len(data) <= MAX_BYTES:
        raise InputError(f"{name} has {len(data)} bytes; expected {kind.words} of at most {MAX_BYTES >> 20} MiB")
    with _reading(data, kind, name) as picture:
        width, height = picture.size
        mode, hidden = _mode(data, picture), _hidden(data, picture)
        if picture.format not in kind.formats or mode != kind.mode or hidden:
            found = f"{picture.format} in mode {picture.mode}{hidden or _depth(mode)}"
            raise InputError(f"{name} is a {found}; expected {kind.words}: convert it")
        if not (1 < width <= MAX_SIDE and 1 < height <= MAX_SIDE):
            raise InputError(f"{name} is {width} x {height} pixels; expected 2 to {MAX_SIDE} on each side")
        if width * height > MAX_AREA:
            raise InputError(f"{name} is {width} x {height} pixels; expected at most {MAX_AREA >> 20} Mi pixels")
        yield picture


def decode(data: bytes, kind: Kind, name: str = "picture") -> Array:
    """The picture as it is shown: (h, w) for grey, (h, w, 3) for RGB; uint16 for kinds of 16 bits, else uint8.

    This is the reference for other decoders. Raises InputError where the bytes are not a picture of this kind, are too
    large, or cannot be decoded.
    """
    with _known(data, kind, name) as picture:
        if kind.mode == RGB16.mode:
            return _deep(data, picture, name)
        pixels = np.array(upright(picture, orientation(data, picture)))
        return pixels.astype(np.uint16, copy=False) if kind.mode.endswith(_DEEP) else pixels


def mode_of(data: bytes, name: str = "picture") -> str:
    """The mode that a picture's `Kind` must have. Raises InputError where the bytes are not a picture."""
    with _reading(data, _ANY, name) as picture:
        return _mode(data, picture)


def _deep(data: bytes, picture: Image.Image, name: str) -> Array:
    """An RGB picture of 16 bits per channel, (h, w, 3) uint16, by OpenCV, because Pillow would keep only 8 bits.

    OpenCV turns TIFFs by itself, as Pillow does.
    """
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.shape[2:] != (3,):
        raise InputError(f"{name} cannot be read; expected {RGB16.words}: save it again")
    turned = 1 if picture.format == "TIFF" else orientation(data, picture)
    planes = [np.array(upright(Image.fromarray(plane), turned)) for plane in np.moveaxis(found[..., ::-1], -1, 0)]
    return np.stack(planes, axis=-1)


def pack(pictures: Sequence[bytes]) -> Array:
    """Encoded pictures as (n, longest) uint8; shorter ones end with zeros, which decoders ignore."""
    packed = np.zeros((len(pictures), max(map(len, pictures))), np.uint8)
    for row, data in zip(packed, pictures, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return packed


def encoded_tensor(pictures: Sequence[bytes]) -> Array:
    """A pipeline's `encoded` tensor (n,) of Python bytes."""
    tensor = np.empty(len(pictures), object)
    tensor[:] = pictures
    return tensor


@contextmanager
def _reading(data: bytes, kind: Kind, name: str) -> Iterator[Image.Image]:
    """Pillow's picture over the bytes. Every error that Pillow raises on damage becomes an InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd tags and large sizes; check() tests both
            with Image.open(io.BytesIO(data)) as picture:
                picture.info.pop("xmp", None)  # only Pillow would read an orientation from it
                yield picture
    except UnidentifiedImageError as error:  # its own message only names a Python object
        raise InputError(f"{name} is {_unknown(data)}; expected {kind.words}") from error
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, OverflowError, EOFError, struct.error) as error:
        raise InputError(f"{name} cannot be read ({error}); expected {kind.words}") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise InputError(
            f"{name} declares too many pixels ({error}); expected {MAX_SIDE} on each side at most"
        ) from error


def _unknown(data: bytes) -> str:
    """What bytes are that Pillow does not know."""
    if data[:4] not in _TIFF_STARTS:
        return "no picture that Pillow knows"
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    begins = int.from_bytes(data[8:16] if b"+" in data[2:4] else data[4:8], order)
    if begins >= len(data):
        return f"a TIFF that is cut short: its directory is due at byte {begins}, and it has {len(data)} bytes"
    return "a TIFF of a kind that Pillow does not read"  # for example one of floating-point or signed values


def _shown(data: bytes, picture: Image.Image) -> tuple[int, int]:
    """Height and width of a picture as it is shown. Pillow already gives a TIFF's size as it is shown."""
    turned = picture.format != "TIFF" and orientation(data, picture) in SIDEWAYS
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


def _mode(data: bytes, picture: Image.Image) -> str:
    """Pillow's mode without its byte order; "RGB;16" where Pillow would keep only 8 of 16 bits."""
    if picture.mode.startswith("I;16"):
        return "I;16"
    if picture.mode == "RGB" and picture.format == "PNG":
        return RGB16.mode if data[24:26] == _PNG_DEPTHS[RGB16.mode] else "RGB"
    if picture.mode == "RGB" and picture.format == "TIFF":
        bits = picture.tag_v2.get(TIFF["BitsPerSample"], (8,))  # type: ignore[attr-defined]
        return RGB16.mode if set(bits) == {16} else "RGB"
    return picture.mode


def _depth(mode: str) -> str:
    return " of 16 bits a channel" if mode == RGB16.mode else ""


def _hidden(data: bytes, picture: Image.Image) -> str:
    """What the mode does not tell about the file: several frames or pages, transparent parts, another bit depth."""
    mode = _mode(data, picture)
    if picture.format == "PNG" and picture.n_frames > 1:  # type: ignore[attr-defined]
        return f" of {picture.n_frames} frames"  # type: ignore[attr-defined]
    if picture.format == "PNG" and mode in _PNG_DEPTHS:
        depth = "" if data[24:26] == _PNG_DEPTHS[mode] else f" of {data[24]} bits a channel"
        return depth or (" with transparent parts" if "transparency" in picture.info else "")
    if picture.format == "TIFF":
        tags = picture.tag_v2  # type: ignore[attr-defined]
        bits, signed = tags.get(TIFF["BitsPerSample"], (1,)), tags.get(TIFF["SampleFormat"], (1,))
        if tags.next:  # the offset of a second page
            return " of several pages"
        if mode not in _ANY_DEPTH and set(bits) - {16 if mode.endswith(_DEEP) else 8}:
            return f" of {max(bits)} bits a channel"
        return " of signed values" if set(signed) - {1} else ""
    return ""
