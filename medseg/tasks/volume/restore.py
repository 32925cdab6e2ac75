"""From slabs of logits on the network's grid to labels on the image's, without ever holding all classes of a volume.

Logits are interpolated and then compared, as in nnU-Net. In each block only those classes are interpolated that can win
there: inside a block, a class is at most its largest corner value and at least its smallest. So the answer is the same
as with all classes, and in most of a volume hardly more than two are interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from medseg.task import Array
from medseg.tasks.volume.resample import nearest, pairs
from medseg.tasks.volume.window import Slab

_BLOCK = (8, 32, 32)  # voxels of the answer: small enough that most hold one or two classes


@dataclass(frozen=True)
class Line:
    """Between which two voxels of the network's grid each voxel of an axis lies, and the second's share."""

    low: Array
    high: Array
    share: Array
    copies: Array | None = None  # the computed voxel that each voxel copies; None if all are computed


@dataclass(frozen=True)
class Grid:
    """The way from the network's grid to the answer's, by axis."""

    lines: tuple[Line, Line, Line]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that is computed, before what is copied."""
        return tuple(len(line.low) for line in self.lines)

    def strip(self, rows: slice) -> tuple[slice, Grid]:
        """The rows (y) of logits that some rows of the answer need, and the way from these to those."""
        z, y, x = self.lines
        first, last = int(y.low[rows].min()), int(y.high[rows].max())
        return slice(first, last + 1), Grid((z, Line(y.low[rows] - first, y.high[rows] - first, y.share[rows]), x))

    def copied(self, labels: Array) -> Array:
        """Labels together with the voxels that are only copies of others."""
        for axis, line in enumerate(self.lines):
            if line.copies is not None:
                labels = np.take(labels, line.copies, axis)
        return labels


def grid(shape: Sequence[int], wanted: Sequence[int], axis: int | None) -> Grid:
    """The way from a shape (z, y, x) to a wanted one; slices along `axis` are the nearest where one is given."""
    z, y, x = (_line(old, new, apart=at == axis) for at, (old, new) in enumerate(zip(shape, wanted, strict=True)))
    return Grid((z, y, x))


def _line(size: int, wanted: int, apart: bool) -> Line:
    if size == wanted or apart:
        places, none = np.arange(size), np.zeros(size)
        return Line(places, places, none, nearest(size, wanted) if size != wanted else None)
    return Line(*pairs(size, wanted))


Paint = Callable[[Array, Array], None]  # a block's interpolated-from logits and the labels to write


@dataclass
class _Kept:
    """The slabs that are still needed: logits (k, slices, y, x), from the slice `first` on."""

    first: int = 0
    parts: list[Array] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.first + sum(part.shape[1] for part in self.parts)

    def take(self, low: int, end: int) -> Array:
        """The slices from `low` to `end`; those before `low` are let go."""
        while self.parts and self.first + self.parts[0].shape[1] <= low:
            self.first += self.parts.pop(0).shape[1]
        if self.first < low:  # otherwise concatenated slabs would be kept for ever
            self.parts[0], self.first = self.parts[0][:, low - self.first :], low
        whole = self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts, 1)
        self.parts = [whole]
        return whole[:, low - self.first : end - self.first]


def labelled(found: Iterator[Slab], to: Grid, heads: Heads, dtype: str) -> Array:
    """The labels (z, y, x) of all slabs on the grid that `to` leads to, what is only copied left out."""
    labels = np.zeros(to.shape, dtype)
    line, done, kept = to.lines[0], 0, _Kept()
    for _, logits in found:
        kept.parts.append(logits)
        ready = int(np.searchsorted(line.high, kept.end, side="left"))
        if ready > done:
            low, high = int(line.low[done]), int(line.high[ready - 1]) + 1
            _fill(labels, kept.take(low, high), to, heads, (done, ready))
            done = ready
    return labels


@dataclass(frozen=True)
class Heads:
    """What the network's output channels mean."""

    values: tuple[int, ...]  # the label that each channel writes
    exclusive: bool  # softmax: the largest wins; otherwise each channel over the threshold, later ones on top
    threshold: float = 0.0  # of a logit, of channels that are not exclusive


def _fill(labels: Array, logits: Array, to: Grid, heads: Heads, rows: tuple[int, int]) -> None:
    """Write the labels of the rows from `rows[0]` to `rows[1]`, for which `logits` begin at the first one's low."""
    first = int(to.lines[0].low[rows[0]])
    spans = [
        range(rows[0], rows[1], _BLOCK[0]),
        *(range(0, n, b) for n, b in zip(to.shape[1:], _BLOCK[1:], strict=True)),
    ]
    ends = (rows[1], *to.shape[1:])
    for corner in product(*spans):
        block = tuple(
            slice(start, min(start + size, end)) for start, size, end in zip(corner, _BLOCK, ends, strict=True)
        )
        near = [(line.low[part], line.high[part], line.share[part]) for line, part in zip(to.lines, block, strict=True)]
        near[0] = (near[0][0] - first, near[0][1] - first, near[0][2])
        part = logits[(slice(None), *(slice(int(low[0]), int(high[-1]) + 1) for low, high, _ in near))]
        local = [(low - low[0], high - low[0], share) for low, high, share in near]
        labels[block] = _exclusive(part, local, heads) if heads.exclusive else _painted(part, local, heads)


Near = list[tuple[Array, Array, Array]]


def _exclusive(part: Array, near: Near, heads: Heads) -> Array:
    """The label of the largest logit at each voxel of a block; if several are equal, the first channel wins."""
    flat = _sortable(part).reshape(len(part), -1)
    least, most = flat.min(1), flat.max(1)
    able = np.flatnonzero(most >= least.max())
    shape = tuple(len(low) for low, _, _ in near)
    values = np.array(heads.values)
    if len(able) == 1:
        return np.full(shape, values[able[0]])
    best = between(part[able[0]], near)
    winner = np.full(shape, values[able[0]])
    for channel in able[1:]:
        other = between(part[channel], near)
        better = other > best
        winner[better], best[better] = values[channel], other[better]
    return winner


def _painted(part: Array, near: Near, heads: Heads) -> Array:
    """The label of the last channel over the threshold at each voxel of a block; 0 where none is."""
    painted = np.zeros(tuple(len(low) for low, _, _ in near), int)
    for value, one in zip(heads.values, part, strict=True):
        if one.max() > heads.threshold:
            over = one.min() > heads.threshold or between(one, near) > heads.threshold
            painted[over] = value
    return painted


def between(one: Array, near: Near) -> Array:
    """A channel's block (z, y, x) interpolated along each axis in float64, rounded to the type that it came in."""
    found = one
    for axis, (low, high, share) in enumerate(near):
        if not share.any():
            found = found if len(low) == found.shape[axis] else np.take(found, low, axis)
            continue
        along = share.reshape([-1 if at == axis else 1 for at in range(3)])
        below = np.take(found, low, axis).astype(np.float64)
        found = below * (1 - along) + np.take(found, high, axis).astype(np.float64) * along
    return found.astype(one.dtype)


def _sortable(logits: Array) -> Array:
    """Integers in the same order as the logits; comparing them is many times faster than comparing float16."""
    if logits.dtype != np.float16:
        return logits
    bits = np.ascontiguousarray(logits).view(np.int16)
    return bits ^ ((bits >> 15) & np.int16(0x7FFF))
