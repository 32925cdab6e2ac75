"""Stage 1: the U-Net on every slice with its neighbours, and a mask of possible nodules.

Only what can change the answer is computed. A candidate is a connected component of the eroded mask, and a voxel
survives the erosion only together with its six neighbours, two of them in the slices above and below. So every third
slice is computed first. In the slices next to these, only pixels are computed that can still belong to a candidate, and
in the last third only those that remain after that. The answer for air is known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import tee

import numpy as np

from medseg.task import Array, Infer
from medseg.tasks.luna.boxes import HALO, STRIDE, Box, covering, with_halo
from medseg.tasks.luna.crops import AIR_HU, CONTEXT, clipped, context_slices
from medseg.tasks.luna.lungs import Region
from medseg.tasks.luna.split import opened
from medseg.tasks.streaming import answers

_EVERY = 3  # slices that an eroded voxel and its neighbours lie in, so that one of them is computed whole


def segment(ct: Array, infer: Infer, region: Region | None = None) -> Array:
    """The candidates' mask (index, row, col) bool of a CT int16 HU: logit > 0, opened.

    Eroding it gives the same mask as eroding the reference's probability > 0.5; voxels that belong to no candidate are
    left out. Boxes stream through the network one by one; with a region, only the region is computed and marked.
    """
    mask, possible = _known(ct, infer, region)
    for first in range(_EVERY):
        wanted = range(first, len(ct), _EVERY)
        areas, sent = tee((index, box) for index in wanted for box in covering(_needed(mask, possible, index)))
        logits = answers(infer, (_cut(ct, index, box) for index, box in sent))
        for (index, box), logit in zip(areas, logits, strict=True):
            found = _answer(logit, box, ct.shape[1:])
            possible[index][box] &= found
            mask[index][box] = possible[index][box]
    return opened(mask)


def _known(ct: Array, infer: Infer, region: Region | None) -> tuple[Array, Array]:
    """Before a slice is computed: the voxels that are marked for certain, and all that may be marked.

    If every voxel on which the answer depends is air, it is the answer for an empty slice, which is computed once.
    """
    mask = np.zeros(ct.shape, bool)
    if region is not None:
        return mask, region.voxels(ct.shape)
    boxes = list(_tissue(ct))
    if any(box != _whole(ct.shape[1:]) for box in boxes):
        empty = np.full((1, 2 * CONTEXT + 1, *ct.shape[1:]), AIR_HU, np.float32)
        mask[:] = _answer(infer(_pad(empty)), _whole(ct.shape[1:]), ct.shape[1:])
    possible = mask.copy()
    for index, box in enumerate(boxes):
        mask[index][box], possible[index][box] = False, True
    return mask, possible


def _tissue(ct: Array) -> Iterator[Box]:
    """For each slice the box outside which the network sees only air."""
    seen = [(plane.any(1), plane.any(0)) for plane in (layer > AIR_HU for layer in ct)]
    for index in range(len(ct)):
        near = seen[max(0, index - CONTEXT) : index + CONTEXT + 1]
        rows, cols = (np.flatnonzero(np.any(axis, axis=0)) for axis in zip(*near, strict=True))
        yield (_around(rows, ct.shape[1]), _around(cols, ct.shape[2])) if len(rows) else (slice(0, 0), slice(0, 0))


def _around(places: Array, size: int) -> slice:
    return slice(max(0, int(places[0]) - HALO), min(size, int(places[-1]) + 1 + HALO))


def _needed(mask: Array, possible: Array, index: int) -> Array:
    """The pixels (row, col) bool of a slice that are not known yet and could belong to a candidate."""
    unknown = possible[index] & ~mask[index]
    if not unknown.any():
        return unknown
    first = max(0, index - 2)  # no slice farther away matters
    return unknown & opened(possible[first : index + 3])[index - first]


def _whole(shape: tuple[int, ...]) -> Box:
    return slice(0, shape[0]), slice(0, shape[1])


def _cut(ct: Array, index: int, box: Box) -> Array:
    """A box of a slice with halo and context, (1, 7, h, w) float32 HU; edge slices are repeated."""
    rows, cols = with_halo(box, ct.shape[1:])
    return _pad(clipped(context_slices(ct[:, rows, cols], index))[None])


def _answer(logits: Array, box: Box, shape: tuple[int, ...]) -> Array:
    """Where the network marks the box, (row, col) bool, of its logits (1, 1, h, w) for the box with its halo."""
    outer = with_halo(box, shape)
    rows, cols = (slice(axis.start - seen.start, axis.stop - seen.start) for axis, seen in zip(box, outer, strict=True))
    return logits[0, 0, rows, cols] > 0


def _pad(batch: Array) -> Array:
    """Height and width filled with air up to the multiples that the network needs."""
    height, width = (-size % STRIDE for size in batch.shape[2:])
    if height == width == 0:
        return batch
    return np.pad(batch, ((0, 0), (0, 0), (0, height), (0, width)), constant_values=AIR_HU)
