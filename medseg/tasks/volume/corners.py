"""MONAI's way to the network's grid and back: the centres of the first voxels coincide, everything is linear.

Orientation, spacing, values, foreground, in that order; what is brought back is interpolated, then compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from medseg.errors import InputError
from medseg.task import Array, Geometry
from medseg.tasks.volume.normalise import normalise
from medseg.tasks.volume.plan import Plan
from medseg.tasks.volume.prepare import Frame, frame_of, turned
from medseg.tasks.volume.restore import Grid, Line, between
from medseg.tasks.volume.window import Slab


def prepared(image: Array, geometry: Geometry, plan: Plan, _: Array | None = None) -> tuple[Array, Frame]:
    """The network's input (channels, z, y, x) float32 of an image (channels, z, y, x), and the frame it lies in."""
    data = turned(image, geometry, plan).astype(np.float32)
    where = replace(frame_of(data, geometry, plan), box=_all(data.shape[1:]))
    if not plan.resampled_first:
        _normalise(data, plan)
    shape = size(where)
    if shape != where.shape:
        lines = [_line(old, new, target * (1 / spacing)) for old, new, target, spacing in _axes(where, shape)]
        data = np.stack([between(one, [(line.low, line.high, line.share) for line in lines]) for one in data])
    if plan.resampled_first:
        _normalise(data, plan)
    if not plan.crop:
        return np.ascontiguousarray(data), where
    box = _foreground(data)
    return np.ascontiguousarray(data[(slice(None), *box)]), replace(where, start=tuple(part.start for part in box))


def size(where: Frame) -> tuple[int, ...]:
    """The shape of the whole image on the network's grid."""
    ends = ((n - 1) * old / new for n, old, new in zip(where.shape, where.spacing_mm, where.target_mm, strict=True))
    return tuple(round(end + 1) for end in ends)


def grid(where: Frame) -> Grid:
    """The way from the network's grid, of the whole image, to the image's."""
    shape = size(where)
    pairs = zip(shape, where.shape, where.spacing_mm, where.target_mm, strict=True)
    z, y, x = (_line(old, new, spacing * (1 / target)) for old, new, spacing, target in pairs)
    return Grid((z, y, x))


def cropped_rows(rows: slice, where: Frame, height: int) -> slice:
    """The rows of a network's input of so many rows that lie in rows of the whole image, at least one."""
    low, high = (min(max(row - where.start[1], 0), height) for row in (rows.start, rows.stop))
    return slice(low, high) if low < high else slice(min(low, height - 1), min(low, height - 1) + 1)


def uncropped(found: Iterator[Slab], where: Frame, rows: slice, cropped: slice) -> Iterator[Slab]:
    """Slabs of rows of the whole image on the network's grid: nothing where the image was cropped away.

    `cropped` are the rows of the network's input that were found.
    """
    deep, _, wide = size(where)
    z, y, x = where.start
    low, high = max(cropped.start + y, rows.start), min(cropped.stop + y, rows.stop)
    done = 0
    for first, part in found:
        place = first + z
        if place > done:
            yield done, np.zeros((len(part), place - done, rows.stop - rows.start, wide), part.dtype)
        whole = np.zeros((*part.shape[:2], rows.stop - rows.start, wide), part.dtype)
        if low < high:
            kept = slice(low - y - cropped.start, high - y - cropped.start)
            whole[:, :, low - rows.start : high - rows.start, x : x + part.shape[3]] = part[:, :, kept]
        done = place + part.shape[1]
        yield place, whole
    if done < deep:
        yield done, np.zeros((len(part), deep - done, rows.stop - rows.start, wide), part.dtype)


def _normalise(data: Array, plan: Plan) -> None:
    for values, scheme in zip(data, plan.schemes, strict=True):
        normalise(values, scheme, lambda: data[0] != 0)


def _axes(where: Frame, shape: tuple[int, ...]) -> Iterator[tuple[int, int, float, float]]:
    return zip(where.shape, shape, where.target_mm, where.spacing_mm, strict=True)


def _line(length: int, wanted: int, step: float) -> Line:
    """Voxels that lie `step` apart, the first on the first; beyond the last one its value goes on.

    Computed in the same steps as LAPACK and torch's affine_grid and grid_sample: their rounding decides which voxels at
    the image's border are exactly 0, and these matter for its mean if zeros are left out.
    """
    source, target = _between_one(length), _between_one(wanted)
    scale, shift = (source @ np.array([[step, 0.0], [0.0, 1.0]]) @ np.linalg.inv(target))[0]
    base = _from_both_ends(wanted) * (wanted - 1) / wanted
    place = np.clip((((base * scale + shift) + 1) * length - 1) / 2, 0, length - 1)
    low = np.floor(place).astype(int)
    return Line(low, np.minimum(low + 1, length - 1), place - low)


def _from_both_ends(count: int) -> Array:
    """So many numbers from -1 to 1, counted from the nearer end, as torch.linspace counts them."""
    if count == 1:
        return np.zeros(1)
    steps = np.longdouble(2.0 / (count - 1)) * np.arange(count)  # rounded once, as a fused multiply-add is
    return np.where(np.arange(count) < count // 2, steps - 1, 1 - steps[::-1]).astype(np.float64)


def _between_one(length: int) -> Array:
    """What takes a line's voxels to places between -1 and 1, as a matrix (2, 2)."""
    return np.array([[2.0 / length, 1.0 / length - 1.0], [0.0, 1.0]])


def _foreground(data: Array) -> tuple[slice, slice, slice]:
    """The box of what is over 0 in any channel. Raises InputError where nothing is."""
    found = []
    for axis in range(3):
        filled = np.flatnonzero((data > 0).any(axis=tuple(one for one in range(4) if one != axis + 1)))
        if not len(filled):
            raise InputError("the image has no value over 0 after it was normalised; expected a foreground to crop to")
        found.append(slice(int(filled[0]), int(filled[-1]) + 1))
    z, y, x = found
    return z, y, x


def _all(shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(0, length) for length in shape)
    return z, y, x
