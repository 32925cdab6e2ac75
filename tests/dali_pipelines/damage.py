"""Damaged files, made from whole ones: what a server must survive."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image


def damaged(whole: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged copies: cut short, bits flipped, bytes swapped for noise, headers overwritten, emptied."""
    rng = np.random.default_rng(seed)
    yield b""
    yield whole[:1]
    yield b"\0" * len(whole)
    for index in range(count - 3):
        data = bytearray(whole)
        if index % 4 == 0:
            yield bytes(data[: rng.integers(2, len(data))])
            continue
        reach = 200 if index % 4 == 1 else len(data)  # headers, then anywhere
        for at in rng.integers(0, reach, rng.integers(1, 8)):
            data[at] ^= 1 << rng.integers(8)
        if index % 4 == 3:
            start = int(rng.integers(0, len(data)))
            data[start : start + 64] = rng.bytes(len(data[start : start + 64]))
        yield bytes(data)


def grey16(height: int, width: int) -> bytes:
    """A whole 16-bit grey PNG."""
    file = io.BytesIO()
    values = np.arange(height * width, dtype=np.uint16).reshape(height, width) * 7
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def strange() -> Iterator[tuple[str, bytes]]:
    """Whole files of kinds that no task takes, by name."""
    for mode, form in (("CMYK", "JPEG"), ("RGBA", "PNG"), ("1", "PNG"), ("L", "JPEG"), ("P", "PNG"), ("RGB", "GIF")):
        file = io.BytesIO()
        Image.new(mode, (64, 48)).save(file, form)
        yield f"{mode} {form}", file.getvalue()
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    yield "1 x 1", file.getvalue()
    huge = bytearray(file.getvalue())
    huge[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    yield "huge header", bytes(huge)
