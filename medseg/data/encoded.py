"""Encoded pictures (PNG, JPEG, TIFF) as bytes: checked by their headers before anything is allocated, and decoded."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffTags, UnidentifiedImageError

from medseg.errors import InputError
from medseg.task import Array

MAX_SIDE = 8192  # pixels; larger than any slide picture or slice, small enough to hold in memory
MAX_BYTES = 64 << 20
MAX_PIXELS = 256 << 20  # of all pictures of a request; a volume of 1,024 slices of 512 x 512
_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Kind:
    """What a task expects of a picture, in words and as Pillow's format and mode."""

    words: str  # for error messages
    formats: tuple[str, ...]
    mode: str


GREY16 = Kind("a 16-bit grey PNG", ("PNG",), "I;16")
RGB = Kind("an 8-bit RGB JPEG, PNG or TIFF", ("JPEG", "PNG", "TIFF"), "RGB")


def check(data: bytes, kind: Kind, name: str = "picture") -> tuple[int, int]:
    """Height and width in pixels of an encoded picture that is whole. Allocates nothing of its size.

    Raises InputError where the bytes are no picture of this kind, cut short, or declare an absurd size.
    """
    with _known(data, kind, name) as picture:
        size = picture.height, picture.width  # looking through a JPEG shrinks it
        if not _whole(data, picture):
            raise InputError(
                f"{name} ends too early after {len(data)} bytes; expected a whole {picture.format}: copy it again"
            )
        return size


def declared(data: bytes, kind: Kind, name: str = "picture") -> tuple[int, int]:
    """Height and width in pixels, from the header alone: what a decoder would allocate for bytes that may be cut short.

    Raises InputError where the bytes are no picture of this kind, or declare an absurd size.
    """
    with _known(data, kind, name) as picture:
        return picture.height, picture.width


def check_total(sizes: Sequence[tuple[int, int]], names: str = "pictures") -> None:
    """Raise InputError where pictures of these sizes, each in its square, would have more than MAX_PIXELS together."""
    if sum(max(size) ** 2 for size in sizes) > MAX_PIXELS:
        largest = max(sizes)
        raise InputError(
            f"{len(sizes)} {names} of up to {largest[0]} x {largest[1]} pixels are too many; "
            f"expected {MAX_PIXELS >> 20} Mi pixels together: ask for fewer at a time"
        )


@contextmanager
def _known(data: bytes, kind: Kind, name: str) -> Iterator[Image.Image]:
    """The picture, of which only the header was read, where it is of this kind and size."""
    if not 0 < len(data) <= MAX_BYTES:
        raise InputError(f"{name} has {len(data)} bytes; expected {kind.words} of at most {MAX_BYTES >> 20} MiB")
    with _reading(data, kind, name) as picture:
        width, height = picture.size
        if picture.format not in kind.formats or picture.mode != kind.mode or _hidden_depth(data, picture):
            raise InputError(f"{name} is a {picture.format} in mode {picture.mode}; expected {kind.words}: convert it")
        if not (1 < width <= MAX_SIDE and 1 < height <= MAX_SIDE):
            raise InputError(f"{name} is {width} x {height} pixels; expected 2 to {MAX_SIDE} on each side")
        yield picture


def decode(data: bytes, kind: Kind, name: str = "picture") -> Array:
    """The picture (h, w) uint16 for GREY16, (h, w, 3) uint8 for RGB; the reference that other decoders are held to.

    Raises InputError where the bytes are no picture of this kind and of a sane size, or cannot be decoded.
    """
    with _known(data, kind, name) as picture:
        return np.array(picture)


def pack(pictures: Sequence[bytes]) -> Array:
    """Encoded pictures as (n, longest) uint8, the shorter ones filled with zeros, which decoders ignore."""
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
    """Pillow's picture over the bytes. What Pillow raises on damage becomes one InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd tags and large sizes; check() judges both
            with Image.open(io.BytesIO(data)) as picture:
                yield picture
    except UnidentifiedImageError as error:  # whose own words name a Python object
        raise InputError(f"{name} is no picture that Pillow knows; expected {kind.words}") from error
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise InputError(f"{name} cannot be read ({error}); expected {kind.words}") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise InputError(
            f"{name} declares too many pixels ({error}); expected {MAX_SIDE} on each side at most"
        ) from error


def _hidden_depth(data: bytes, picture: Image.Image) -> bool:
    """Whether the file holds other samples than Pillow's mode tells: a 16-bit RGB PNG is opened as 8-bit RGB."""
    return picture.format == "PNG" and picture.mode == "RGB" and data[24:26] != b"\x08\x02"


def _whole(data: bytes, picture: Image.Image) -> bool:
    """Whether the bytes reach the format's end: JPEG and PNG have an end mark, TIFF lists where its strips lie."""
    if picture.format == "JPEG":
        if _JPEG_END not in data[-4096:]:  # some writers add a few bytes behind the end mark
            return False
        picture.draft(None, (1, 1))  # DALI makes pictures of broken streams: read it all once, at an eighth of the size
        picture.load()
        return True
    if picture.format == "PNG":
        return _PNG_END in data[-4096:]
    tags = picture.tag_v2  # type: ignore[attr-defined]
    names = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}
    kind = "Strip" if names["StripOffsets"] in tags else "Tile"
    offsets, counts = tags.get(names[f"{kind}Offsets"], ()), tags.get(names[f"{kind}ByteCounts"], ())
    if isinstance(offsets, int):
        offsets, counts = (offsets,), (counts,)
    return len(offsets) > 0 and all(at + size <= len(data) for at, size in zip(offsets, counts, strict=True))
