"""The sliding window: tiles of a volume through the network, blended, as slabs of logits in the order of the slices.

Sums exist only for the depth of one tile at a time, and only for some rows if even that is too much. Each voxel's sum
is computed in the order of nnU-Net's loops and in the type of its accumulator, because both decide the last digit, and
so which class wins if two are nearly equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy

from medseg.errors import InputError
from medseg.task import Array

_SIGMA = 1 / 8  # of the tile
_NNUNET_PEAK = 10.0
_PIECE = 1 << 27  # bytes of logits that are given out at a time


@dataclass(frozen=True)
class Window:
    """How a volume is cut into tiles and put together again."""

    patch: tuple[int, ...]  # (z, y, x), or (y, x) of slices
    overlap: float = 0.5  # of neighbouring tiles, as a share
    blending: str = "gaussian"  # or constant
    steps: str = "even"  # even: as nnU-Net, equal steps; fixed: as MONAI, full steps and a last one at the end
    accumulator: str = "float16"  # of the sums: float16 as nnU-Net, float32 as MONAI


Slab = tuple[int, Array]  # the first slice, and logits (channels, slices, y, x) in the accumulator's type
Ask = Callable[[Iterator[Array]], Iterator[Array]]  # tiles (c, *patch) to answers (k, *patch) float32, in order


def slabs(image: Array, ask: Ask, window: Window, rows: slice | None = None) -> Iterator[Slab]:
    """Blended logits of an image (c, z, y, x) float32, slab by slab from the first slice to the last.

    If `rows` (y) are given, only the tiles that reach them are computed. Raises InputError where the
    sums leave the accumulator's range.
    """
    shape = image.shape[-len(window.patch) :]
    pads = [_centred(max(0, tile - size)) for size, tile in zip(shape, window.patch, strict=True)]
    padded = np.pad(image, [(0, 0)] * (image.ndim - len(pads)) + pads) if any(map(any, pads)) else image
    inside = [slice(low, low + size) for (low, _), size in zip(pads, shape, strict=True)]
    if rows is not None:
        inside[-2] = slice(inside[-2].start + rows.start, inside[-2].start + rows.stop)
    if len(window.patch) == 2:
        return ((index, one[:, :, inside[0], inside[1]]) for index, one in _planes(padded, ask, window))
    return _trimmed(_layers(padded, ask, window, inside[1]), inside)


def strip_bytes(shape: Sequence[int], outputs: int, window: Window) -> int:
    """How much memory the sums of an image (z, y, x) take while its slabs are made, all rows at once."""
    if len(window.patch) == 2:
        return 0  # a slice of them
    slice_size = math.prod(max(size, tile) for size, tile in zip(shape[1:], window.patch[1:], strict=True))
    return outputs * window.patch[0] * slice_size * np.dtype(window.accumulator).itemsize


def _trimmed(found: Iterator[Slab], inside: Sequence[slice]) -> Iterator[Slab]:
    """Slabs without the padding before and after the slices, and beside them."""
    low, high = inside[0].start, inside[0].stop
    for first, logits in found:
        begin, end = max(first, low), min(first + logits.shape[1], high)
        if begin < end:
            yield begin - low, logits[:, begin - first : end - first, :, inside[2]]


def _planes(image: Array, ask: Ask, window: Window) -> Iterator[Slab]:
    """Slice by slice, each a picture of its own; the tiles of several are in flight."""
    places = _places(image.shape[2:], window)
    found = ask(image[:, index, place[0], place[1]] for index in range(image.shape[1]) for place in places)
    weight = _importance(window).astype(np.float32)
    total = _weights(image.shape[2:], places, window)
    for index in range(image.shape[1]):
        sums: Array | None = None
        for place in places:
            tile = next(found)
            if sums is None:
                sums = np.zeros((len(tile), *image.shape[2:]), window.accumulator)
            _add(sums[(slice(None), *place)], tile, weight)
        assert sums is not None, "an image has at least one tile"
        yield index, _divided(sums, total)[:, None]


def _layers(image: Array, ask: Ask, window: Window, rows: slice) -> Iterator[Slab]:
    """Layer after layer of tiles along the first axis: what no later layer reaches is given out, a few slices each."""
    depth, shape = window.patch[0], image.shape[1:]
    places = [one for one in _places(shape, window) if one[1].start < rows.stop and one[1].stop > rows.start]
    found = ask(image[(slice(None), *place)] for place in places)
    starts = sorted({place[0].start for place in places})
    layer = [_cut(place, rows) for place in places if place[0].start == starts[0]]
    sums: Array | None = None
    total = np.zeros((depth, rows.stop - rows.start, shape[2]), window.accumulator)
    importance = _importance(window)
    weight = importance.astype(np.float32)
    for start, following in zip(starts, [*starts[1:], shape[0]], strict=True):
        for part, to in layer:
            tile = next(found)
            sums = np.zeros((len(tile), *total.shape), window.accumulator) if sums is None else sums
            _add(sums[(slice(None), slice(None), *to)], tile[:, :, part], weight[:, part])
            total[(slice(None), *to)] += importance[:, part]
        assert sums is not None, "a layer has at least one tile"
        done = min(following - start, depth)
        for first, last in _pieces(done, sums[:, 0].nbytes):
            yield start + first, _divided(sums[:, first:last], total[first:last])
        _move_on(sums, done)
        _move_on(total[None], done)


def _cut(place: tuple[slice, ...], rows: slice) -> tuple[slice, tuple[slice, slice]]:
    """The rows of a tile that are wanted, and where they and its columns lie among those that are wanted."""
    low, high = max(place[1].start, rows.start), min(place[1].stop, rows.stop)
    part = slice(low - place[1].start, high - place[1].start)
    return part, (slice(low - rows.start, high - rows.start), place[2])


def _pieces(count: int, size: int) -> Iterator[tuple[int, int]]:
    """So many slices of so many bytes cut into pieces that are small enough to be copied, first and end of each."""
    step = max(1, _PIECE // size)
    return ((first, min(first + step, count)) for first in range(0, count, step))


def _add(sums: Array, tile: Array, weight: Array) -> None:
    """Add a tile in place, a class at a time; values beyond the accumulator's range show in `_divided`."""
    with np.errstate(over="ignore", invalid="ignore"):
        for one, answer in zip(sums, tile, strict=True):
            one += answer * weight


def _move_on(sums: Array, done: int) -> None:
    """Let go of so many slices of sums (k, slices, y, x), in place; those that come in are 0."""
    left = sums.shape[1] - done
    for one in sums:  # one class at a time, because numpy copies overlapping memory
        one[:left] = one[done:]
        one[left:] = 0


def _divided(sums: Array, total: Array) -> Array:
    logits = np.empty_like(sums)
    with np.errstate(over="ignore", invalid="ignore"):
        for one, kept in zip(sums, logits, strict=True):
            np.divide(one, total, out=kept)
    if not np.isfinite(logits).all():
        raise InputError(
            "the network's answers are beyond the range of float16 in which they are summed; expected logits of at "
            "most 65504: is this the kind of image on which the network was trained?"
        )
    return logits


def _weights(shape: tuple[int, ...], places: Sequence[tuple[slice, ...]], window: Window) -> Array:
    """The sum of all tiles' importance at each place."""
    total = np.zeros(shape, window.accumulator)
    for place in places:
        total[place] += _importance(window)
    return total


def _places(shape: Sequence[int], window: Window) -> list[tuple[slice, ...]]:
    """Where the tiles lie, in nnU-Net's order: the last axis runs fastest."""
    starts = [_starts(size, tile, window.overlap, window.steps) for size, tile in zip(shape, window.patch, strict=True)]
    return [
        tuple(slice(start, start + tile) for start, tile in zip(corner, window.patch, strict=True))
        for corner in product(*starts)
    ]


def _starts(size: int, tile: int, overlap: float, steps: str) -> list[int]:
    """The tiles' first voxels along an axis that is at least as long as a tile."""
    if steps == "fixed":
        step = max(1, int(tile * (1 - overlap))) if tile != size else tile
        count = math.ceil((size - tile) / step) + 1
        return [min(index * step, size - tile) for index in range(count)]
    count = math.ceil((size - tile) / (tile * (1 - overlap))) + 1
    step_size = (size - tile) / (count - 1) if count > 1 else 0.0
    return [round(step_size * index) for index in range(count)]


def _centred(missing: int) -> tuple[int, int]:
    """Padding below and above; the odd voxel goes above."""
    return missing // 2, missing - missing // 2


def _importance(window: Window) -> Array:
    """How much each voxel of a tile counts, in the accumulator's type."""
    if window not in _IMPORTANCE:
        _IMPORTANCE[window] = _made(window)
    return _IMPORTANCE[window]


_IMPORTANCE: dict[Window, Array] = {}


def _made(window: Window) -> Array:
    if window.blending == "constant":
        return np.ones(window.patch, window.accumulator)
    if window.steps == "fixed":
        return _monai_gaussian(window.patch)
    peak = np.zeros(window.patch)
    peak[tuple(size // 2 for size in window.patch)] = 1
    bell = scipy.ndimage.gaussian_filter(peak, [size * _SIGMA for size in window.patch], 0, mode="constant", cval=0)
    bell /= bell.max() / _NNUNET_PEAK
    bell = bell.astype(window.accumulator)
    bell[bell == 0] = bell[bell > 0].min()
    return bell


def _monai_gaussian(patch: Sequence[int]) -> Array:
    """MONAI's: a product of bells about the tile's middle, none of it under a thousandth."""
    bell = np.ones((), np.float32)
    for size in patch:
        places = np.arange(-(size - 1) / 2, (size - 1) / 2 + 1, dtype=np.float32)
        line = np.exp(places**2 / np.float32(-2 * (size * _SIGMA) ** 2))
        bell = bell[..., None] * line
    return np.maximum(bell, max(float(bell.min()), 1e-3)).astype(np.float32)
