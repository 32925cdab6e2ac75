"""Finds damage in an encoded picture's bytes without holding its pixels, by its format's end mark and checksums."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import simplejpeg
from PIL import Image, TiffTags

_JPEG_END = b"\xff\xd9"
_PNG_START = 8  # bytes of its signature
_PNG_PARTS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # the critical chunks
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
_INFLATED = 1 << 20  # bytes held at a time
_UNCOMPRESSED, _CONTIGUOUS = 1, 1  # TIFF's numbers
TIFF = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}
EARLY = "ends too early"


def flaw(data: bytes, picture: Image.Image) -> str | None:
    """What is wrong with the bytes of this picture, in words like "ends too early"; None where they are complete.

    A PNG is checked by the checksums of all its parts. A JPEG is decoded once, at an eighth of its size. The strips of
    a TIFF must lie in the file; changed pixels of a TIFF are not found, because it has no checksum.
    """
    if picture.format == "JPEG":
        return _jpeg_flaw(data, picture)
    return _png_flaw(data) if picture.format == "PNG" else _tiff_flaw(data, picture)


def parts(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """A PNG's parts (chunks) up to its end, or to where it is cut: name, content, whether the checksum is right."""
    at, name = _PNG_START, b""
    while name != b"IEND":
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + size
        if end + 4 > len(data):
            return
        yield name, data[at + 8 : end], zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")
        at = end + 4


def is_plain_tiff(picture: Image.Image) -> bool:
    """Whether a TIFF holds uncompressed strips of whole pixels, which all decoders read the same way."""
    tags = _tags(picture)
    plain = (tags.get(TIFF["Compression"], 1), tags.get(TIFF["PlanarConfiguration"], 1))
    return plain == (_UNCOMPRESSED, _CONTIGUOUS) and TIFF["StripOffsets"] in tags


def _jpeg_flaw(data: bytes, picture: Image.Image) -> str | None:
    if _JPEG_END not in data[-4096:]:  # some writers add a few bytes after the end mark
        return EARLY
    try:
        simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError:  # a broken header, or a chroma subsampling that libjpeg supports and TurboJPEG does not
        picture.draft(None, (1, 1))
        picture.load()
        return None
    try:  # this raises on damage for which Pillow and DALI only warn and still return pixels
        simplejpeg.decode_jpeg(data, "RGB", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        return f"is damaged ({str(error).strip().rstrip('.')})"
    return None


def _png_flaw(data: bytes) -> str | None:
    found = list(parts(data))
    for name, _, right in found:
        if not right:
            return f"is damaged (the checksum of its part {_word(name)} is wrong)"
        if name[:1].isupper() and name not in _PNG_PARTS:
            return f"has a part {_word(name)} that PNG does not know"
    names = [name for name, _, _ in found]
    if names[-1:] != [b"IEND"]:
        return EARLY
    if names[0] != b"IHDR" or len(found[0][1]) != 13 or names.count(b"IHDR") > 1:
        return "is damaged (its header is not one)"
    expected = _raw_size(found[0][1])
    held = _inflated([body for name, body, _ in found if name == b"IDAT"], expected)
    return None if held == expected else "is damaged (its pixels are not as many as its header says, or do not unpack)"


def _word(name: bytes) -> str:
    return name.decode("ascii", "replace") if name.isalpha() else "without a name"


def _raw_size(header: bytes) -> int:
    """The number of bytes of a PNG's pixels before compression; each row has one more byte, its filter's number."""
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4))
    bits = header[8] * _CHANNELS.get(header[9], 0)
    sizes = [(width, height)]
    if header[12]:
        sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in _PASSES]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def _inflated(bodies: Sequence[bytes], most: int) -> int | None:
    """How many bytes a zlib stream in several bodies unpacks to; None if it is broken.

    Counting stops soon after `most`.
    """
    inflater, count = zlib.decompressobj(), 0
    try:
        for body in bodies:
            left, made = body, b""
            while (left or len(made) == _INFLATED) and not inflater.eof and count <= most:
                made = inflater.decompress(left, _INFLATED)
                left = inflater.unconsumed_tail
                count += len(made)
    except zlib.error:
        return None
    return count if inflater.eof or count > most else None


def _tiff_flaw(data: bytes, picture: Image.Image) -> str | None:
    tags = _tags(picture)
    kind = "Strip" if TIFF["StripOffsets"] in tags else "Tile"
    offsets, counts = (_several(tags.get(TIFF[f"{kind}{name}"], ())) for name in ("Offsets", "ByteCounts"))
    if not offsets or len(offsets) != len(counts):
        return "is damaged (it does not say where its pixels lie)"
    if any(at + size > len(data) for at, size in zip(offsets, counts, strict=True)):
        return EARLY
    if is_plain_tiff(picture) and sum(counts) < picture.width * picture.height * len(picture.getbands()):
        return "is damaged (its strips are too short for its pixels)"
    return None


def _several(value: Any) -> tuple[int, ...]:
    """A tag's numbers as a tuple; Pillow gives a single number without one."""
    return tuple(value) if isinstance(value, tuple | list) else (int(value),)


def _tags(picture: Image.Image) -> Any:
    return picture.tag_v2  # type: ignore[attr-defined]
