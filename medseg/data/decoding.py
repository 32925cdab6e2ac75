"""The decoding that a Decode record describes, by Pillow and OpenCV: the reference for all other decoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from medseg.data.encoded import check_total, declared, decode
from medseg.data.grid import resized
from medseg.task import Array, Decode, Networks, Tensors

SCALES = ("", "bits", "maximum", "range")


def decoder(how: Decode) -> Callable[[Tensors, Networks], Tensors]:
    """A step's function from `packed` (n, bytes) uint8 to the record's output.

    The function raises InputError, with the picture's name, where a picture is not of the record's kind or too large.
    """

    def decoded(tensors: Tensors, _: Networks) -> Tensors:
        files = files_of(tensors["packed"], how)[0]
        pictures = [decode(data, how.kind, name) for name, data in files.items()]
        return {how.output: np.stack([prepared(picture, how) for picture in pictures])}

    return decoded


def names_of(how: Decode, count: int) -> list[str]:
    """What messages call a request's pictures: counted from 1, as people and most file names count."""
    return [how.called] if how.most == 1 else [f"{how.called} {number}" for number in range(1, count + 1)]


def files_of(packed: Array, how: Decode) -> tuple[Mapping[str, bytes], int]:
    """The bytes of each picture by the name that messages use for it, and how many pixels all have together.

    Raises InputError where a picture is not of the record's kind, or all have too many pixels together.
    """
    files = {name: row.tobytes() for name, row in zip(names_of(how, len(packed)), packed, strict=True)}
    sizes = [declared(data, how.kind, name) for name, data in files.items()]
    check_total(sizes, f"{how.called}s")
    return files, sum(height * width for height, width in sizes)


def prepared(picture: Array, how: Decode) -> Array:
    """One decoded picture (h, w) or (h, w, 3), prepared as the record says.

    Without a size: the pixels (h, w, 1 or 3) as they are. With one: (channels, *size) float32. See Decode.
    """
    pixels = picture if picture.ndim == 3 else picture[..., np.newaxis]
    if how.size is None:
        return pixels
    planes = pixels.transpose(2, 0, 1).astype(np.float32)
    low, spread = _ends(picture, how)
    if how.scaled == "maximum":  # scaling before resizing rounds as in the networks' training
        scaled = resized(planes / spread, how.size)
    else:
        scaled = (resized(planes, how.size) - low) / spread
    shown = np.repeat(scaled, how.channels, axis=0) if len(scaled) == 1 else scaled
    if not how.mean:
        return shown
    mean, std = (np.array(part, np.float32)[:, np.newaxis, np.newaxis] for part in (how.mean, how.std))
    return (shown - mean) / std


def _ends(picture: Array, how: Decode) -> tuple[np.float32, np.float32]:
    """The value that becomes 0, and the distance from it to the value that becomes 1, which is never 0."""
    low = int(picture.min()) if how.scaled == "range" else 0
    if how.scaled in ("maximum", "range"):
        return np.float32(low), np.float32(max(1, int(picture.max()) - low))
    return np.float32(low), np.float32(largest_value(how) if how.scaled == "bits" else 1)


def problems(how: Decode) -> Iterator[str]:
    """What is wrong with a record, one sentence each."""
    if how.scaled not in SCALES:
        yield f"scaled {how.scaled!r}; expected one of {', '.join(map(repr, SCALES))}"
    if how.size is None and (how.scaled or how.mean or how.std):
        yield "values that are scaled, and no size; expected both, or pixels as they are stored"
    grey = not how.kind.mode.startswith("RGB")
    if how.size and not grey and how.channels != 3:
        yield f"{how.channels} channels of an RGB picture; expected 3"
    if (how.mean or how.std) and not len(how.mean) == len(how.std) == how.channels:
        yield f"{len(how.mean)} means and {len(how.std)} deviations; expected {how.channels} of each, or none"
    if any(not value > 0 for value in how.std):
        yield f"deviations {', '.join(map(str, how.std))}; expected numbers above 0"


def largest_value(how: Decode) -> int:
    """The largest value that the record's kind of picture can hold."""
    return 65535 if how.kind.mode.endswith(";16") else 255
