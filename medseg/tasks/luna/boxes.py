"""The boxes of a slice that the U-Net computes: few, and with few pixels that are not needed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import scipy

from medseg.task import Array

# The U-Net's logit at a pixel depends on no voxel farther away: 2 convolutions at full size, 2 at half (x 2) and
# 2 at quarter size (x 4), the way back up again, and up to 3 pixels for the alignment of its pooling.
HALO = 24
STRIDE = 4  # its two poolings halve the picture twice
_BLOCK = 16  # boxes have few different sizes, because engines prepare for each new size; a multiple of STRIDE
_MANY = 32  # with more pieces than this, as in noise, close ones are joined without comparing each pair

Box = tuple[slice, slice]  # rows and columns


def covering(needed: Array) -> list[Box]:
    """Boxes that hold all needed pixels (row, col) bool; two are merged if that is less work, halos included."""
    height, width = needed.shape
    padded = np.pad(needed, ((0, -height % _BLOCK), (0, -width % _BLOCK)))
    blocks = np.asarray(padded.reshape(-(-height // _BLOCK), _BLOCK, -1, _BLOCK).any((1, 3)))
    labels, count = scipy.ndimage.label(blocks)
    if count > _MANY:
        labels, _ = scipy.ndimage.label(scipy.ndimage.binary_dilation(blocks, np.ones((5, 5), bool)))
    boxes = [
        (_pixels(rows, height), _pixels(cols, width)) for rows, cols in scipy.ndimage.find_objects(labels * blocks)
    ]
    while len(boxes) > 1:
        one, other = max(combinations(boxes, 2), key=lambda pair: _saved(*pair))
        if _saved(one, other) <= 0:
            break
        boxes = [box for box in boxes if box not in (one, other)] + [_joined(one, other)]
    return boxes


def with_halo(box: Box, shape: tuple[int, ...]) -> Box:
    """The part of a picture that the network needs for a box of `covering`: HALO on each side, or up to the edge.

    Starts are multiples of STRIDE. At an edge the box is shifted rather than cut off, for fewer sizes.
    """
    rows, cols = (_seen(axis, size) for axis, size in zip(box, shape, strict=True))
    return rows, cols


def _seen(axis: slice, size: int) -> slice:
    length = axis.stop - axis.start + 2 * HALO
    start = max(0, min(axis.start - HALO, size - length)) // STRIDE * STRIDE
    return slice(start, min(size, max(axis.stop + HALO, start + length)))


def _pixels(blocks: slice, size: int) -> slice:
    return slice(blocks.start * _BLOCK, min(size, blocks.stop * _BLOCK))


def _joined(one: Box, other: Box) -> Box:
    rows, cols = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, cols


def _saved(one: Box, other: Box) -> int:
    return _work(one) + _work(other) - _work(_joined(one, other))


def _work(box: Box) -> int:
    """Pixels that the network computes for a box."""
    rows, cols = (axis.stop - axis.start + 2 * HALO for axis in box)
    return int(rows * cols)
