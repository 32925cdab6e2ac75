"""Stage 1: every slice with its neighbours through the U-Net, and a mask of what may be a nodule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medseg.task import Array, Infer
from medseg.tasks.luna.crops import AIR_HU, CONTEXT, clipped, context_slices
from medseg.tasks.luna.lungs import Region
from medseg.tasks.luna.streaming import answers

# The U-Net's logit at a pixel depends on no voxel farther away: 2 convolutions at full size, 2 at half (x 2) and
# 2 at quarter size (x 4), the way back up again, and up to 3 pixels for the alignment of its pooling.
HALO = 24
_ALIGNMENT = 4  # its two poolings halve the picture twice
_SLAB = 8  # slices that share one window
_COARSE = 32  # windows come in few sizes, since engines prepare for each size anew


@dataclass(frozen=True)
class Window:
    """Slices [first, last) and the rows and columns to answer for; the network sees HALO more on each side."""

    first: int
    last: int
    rows: slice
    cols: slice


def segment(ct: Array, infer: Infer, region: Region | None = None) -> Array:
    """The nodule mask (index, row, col) bool of a CT int16 HU: logit > 0, as the reference's probability > 0.5.

    Slices stream through the network one by one. Where every voxel that the answer depends on is air, the answer is
    that of an empty slice, computed once; with a region, only the region is computed and marked.
    """
    mask = np.zeros(ct.shape, bool)
    windows = list(_lung_windows(region, ct.shape) if region else _tissue_windows(ct))
    if region is None and any(window.rows != slice(0, ct.shape[1]) for window in windows):
        mask[:] = (
            infer(_pad(np.full((1, 2 * CONTEXT + 1, *ct.shape[1:]), AIR_HU, np.float32)))[
                0, 0, : ct.shape[1], : ct.shape[2]
            ]
            > 0
        )
    slices = [(window, index) for window in windows for index in range(window.first, window.last)]
    logits = answers(infer, (_cut(ct, window, index) for window, index in slices))
    for (window, index), answer in zip(slices, logits, strict=True):
        outer_rows, outer_cols = _outer(window, ct.shape)
        inner = answer[0, 0, window.rows.start - outer_rows.start :, window.cols.start - outer_cols.start :]
        height, width = window.rows.stop - window.rows.start, window.cols.stop - window.cols.start
        mask[index, window.rows, window.cols] = inner[:height, :width] > 0
    if region is not None:
        found = np.nonzero(mask)
        mask[found] = region.contains(found)
    return mask


def _lung_windows(region: Region, shape: tuple[int, ...]) -> Iterator[Window]:
    for first, last in _slabs(shape[0]):
        if box := region.box(first, last):
            yield Window(first, last, _coarse(box[0], shape[1]), _coarse(box[1], shape[2]))


def _tissue_windows(ct: Array) -> Iterator[Window]:
    """Windows round all that is not air, wide enough that outside of them the network sees nothing but air."""
    for first, last in _slabs(len(ct)):
        seen = ct[max(0, first - CONTEXT) : last + CONTEXT].max(0) > AIR_HU
        rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        if len(rows):
            box = (
                slice(max(0, rows[0] - HALO), rows[-1] + 1 + HALO),
                slice(max(0, cols[0] - HALO), cols[-1] + 1 + HALO),
            )
            yield Window(first, last, _coarse(box[0], ct.shape[1]), _coarse(box[1], ct.shape[2]))


def _slabs(depth: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + _SLAB, depth)) for first in range(0, depth, _SLAB))


def _coarse(box: slice, size: int) -> slice:
    """The slice widened to multiples of _COARSE, inside the picture."""
    return slice(box.start // _COARSE * _COARSE, min(size, -(-box.stop // _COARSE) * _COARSE))


def _outer(window: Window, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """What the network must see: rows and columns with the halo, inside the picture. Starts are multiples of 4."""
    rows = slice(max(0, window.rows.start - HALO), min(shape[1], window.rows.stop + HALO))
    cols = slice(max(0, window.cols.start - HALO), min(shape[2], window.cols.stop + HALO))
    return rows, cols


def _cut(ct: Array, window: Window, index: int) -> Array:
    """One slice with its context, (1, 7, h, w) float32 HU; edge slices are repeated."""
    rows, cols = _outer(window, ct.shape)
    return _pad(clipped(context_slices(ct[:, rows, cols], index))[None])


def _pad(batch: Array) -> Array:
    """Height and width filled with air up to the multiples that the network needs."""
    height, width = (-size % _ALIGNMENT for size in batch.shape[2:])
    if height == width == 0:
        return batch
    return np.pad(batch, ((0, 0), (0, 0), (0, height), (0, width)), constant_values=AIR_HU)
