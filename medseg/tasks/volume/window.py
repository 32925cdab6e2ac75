"""The sliding window: tiles of a volume through the network, blended, as slabs of logits in the order of the slices.

No more than a tile's depth of logits exists at a time. Each voxel's sums are made in the order of nnU-Net's loops and
in the type of its accumulator, for both decide the last digit, and so which class wins where two are nearly equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from threading import Lock

import numpy as np
import scipy

from medseg.errors import InputError
from medseg.task import Array, Infer
from medseg.tasks.streaming import answers

_SIGMA = 1 / 8  # of the tile
_NNUNET_PEAK = 10.0


@dataclass(frozen=True)
class Window:
    """How a volume is cut into tiles and put together again."""

    patch: tuple[int, ...]  # (z, y, x), or (y, x) of slices
    overlap: float = 0.5  # of neighbouring tiles, as a share
    blending: str = "gaussian"  # or constant
    steps: str = "even"  # even: as nnU-Net, equal steps; fixed: as MONAI, full steps and a last one at the end
    accumulator: str = "float16"  # of the sums: float16 as nnU-Net, float32 as MONAI


Slab = tuple[int, Array]  # the first slice, and logits (channels, slices, y, x) in the accumulator's type


def slabs(image: Array, infer: Infer, window: Window, mirrors: Sequence[int], batch: int = 1) -> Iterator[Slab]:
    """Blended logits of an image (c, z, y, x) float32, slab by slab from the first slice to the last.

    `mirrors` are the axes along which tiles are mirrored too, counted from the patch's first. `batch` tiles are asked
    at a time. Raises InputError where the sums leave the accumulator's range.
    """
    flat = len(window.patch) == 2
    shape = image.shape[-len(window.patch) :]
    pads = [_centred(max(0, tile - size)) for size, tile in zip(shape, window.patch, strict=True)]
    padded = np.pad(image, [(0, 0)] * (image.ndim - len(pads)) + pads) if any(map(any, pads)) else image
    inside = tuple(slice(low, low + size) for (low, _), size in zip(pads, shape, strict=True))
    ask = _once_alike(infer)
    if flat:
        found = _planes(padded, ask, window, mirrors, batch)
        return ((index, one[:, :, inside[0], inside[1]]) for index, one in found)
    return _trimmed(_rows(padded, ask, window, mirrors, batch), inside)


def _trimmed(found: Iterator[Slab], inside: tuple[slice, ...]) -> Iterator[Slab]:
    """Slabs without the padding."""
    low, high = inside[0].start, inside[0].stop
    for first, logits in found:
        begin, end = max(first, low), min(first + logits.shape[1], high)
        if begin < end:
            yield begin - low, logits[:, begin - first : end - first, inside[1], inside[2]]


def _planes(image: Array, ask: Infer, window: Window, mirrors: Sequence[int], batch: int) -> Iterator[Slab]:
    """Slice by slice, each a picture of its own; the tiles of several are in flight."""
    places = _places(image.shape[2:], window)
    tiles = (image[:, index, place[0], place[1]] for index in range(image.shape[1]) for place in places)
    blended = _blended(_asked(tiles, ask, mirrors, batch), window)
    total: Array | None = None
    for index in range(image.shape[1]):
        sums: Array | None = None
        for place in places:
            tile = next(blended)
            if sums is None:
                sums = np.zeros((len(tile), *image.shape[2:]), window.accumulator)
            _add(sums[(slice(None), *place)], tile)
        assert sums is not None, "an image has at least one tile"
        total = _weights(image.shape[2:], places, window) if total is None else total
        yield index, _divided(sums, total)[:, None]


def _rows(image: Array, ask: Infer, window: Window, mirrors: Sequence[int], batch: int) -> Iterator[Slab]:
    """Row after row of tiles along the first axis: what no later row reaches is given out."""
    depth, shape = window.patch[0], image.shape[1:]
    places = _places(shape, window)
    blended = _blended(_asked((image[(slice(None), *place)] for place in places), ask, mirrors, batch), window)
    starts = sorted({place[0].start for place in places})
    layer = [place[1:] for place in places if place[0].start == starts[0]]
    sums: Array | None = None
    total = np.zeros((depth, *shape[1:]), window.accumulator)
    for start, following in zip(starts, [*starts[1:], shape[0]], strict=True):
        for place in layer:
            tile = next(blended)
            sums = np.zeros((len(tile), depth, *shape[1:]), window.accumulator) if sums is None else sums
            _add(sums[(slice(None), slice(None), *place)], tile)
            total[(slice(None), *place)] += _importance(window)
        assert sums is not None, "a layer has at least one tile"
        done = min(following - start, depth)
        yield start, _divided(sums[:, :done], total[:done])
        _move_on(sums, done)
        _move_on(total[None], done)


def _add(sums: Array, tile: Array) -> None:
    """Add a tile in place; what leaves the accumulator's range is told when the sums are divided."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums += tile


def _move_on(sums: Array, done: int) -> None:
    """Let go of so many slices of sums (k, slices, y, x), in place; those that come in are 0."""
    left = sums.shape[1] - done
    for one in sums:  # a class at a time: numpy copies what overlaps
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
            "most 65504: is the image what the network was fitted on?"
        )
    return logits


def _weights(shape: tuple[int, ...], places: Sequence[tuple[slice, ...]], window: Window) -> Array:
    """The sum of all tiles' importance at each place."""
    total = np.zeros(shape, window.accumulator)
    for place in places:
        total[place] += _importance(window)
    return total


def _blended(tiles: Iterator[Array], window: Window) -> Iterator[Array]:
    importance = _importance(window)
    weight = importance.astype(np.float32)
    for tile in tiles:
        tile *= weight
        yield tile


def _asked(tiles: Iterator[Array], ask: Infer, mirrors: Sequence[int], batch: int) -> Iterator[Array]:
    """The network's answer (k, ...) float32 to each tile, the mean of its mirrored answers where mirrored."""
    ways = [way for count in range(len(mirrors) + 1) for way in combinations(mirrors, count)]
    inputs = (np.ascontiguousarray(np.flip(tile, _axes(way))) for tile in tiles for way in ways)
    singles = (one for many in answers(ask, _batches(inputs, batch)) for one in many)
    for first in singles:
        mean = np.array(first)
        for way in ways[1:]:
            mean += np.flip(next(singles), _axes(way))
        if len(ways) > 1:
            mean /= len(ways)
        yield mean


def _axes(way: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in way)  # a tile's first axis is its channels


def _batches(inputs: Iterator[Array], batch: int) -> Iterator[Array]:
    group: list[Array] = []
    for one in inputs:
        group.append(one)
        if len(group) == batch:
            yield np.stack(group)
            group = []
    if group:
        yield np.stack(group)


def _once_alike(infer: Infer) -> Infer:
    """The network, asked once for tiles in which every channel has one value: padding, and air after clipping."""
    known: dict[bytes, Array] = {}
    lock = Lock()

    def ask(batch: Array) -> Array:
        corner = batch[(slice(None), slice(None), *(slice(1) for _ in batch.shape[2:]))]
        if not (batch == corner).all():
            return infer(batch)
        key = corner.tobytes()
        if key not in known:
            answer = infer(batch)
            with lock:
                known[key] = answer
        return known[key]

    return ask


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
