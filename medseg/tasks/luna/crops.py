"""What LUNA's networks look at: context slices, crops, and the nodules' masks, as plain functions of a scan in HU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.task import Array

HU_RANGE = (-1000, 1000)  # below is air outside the body, above is metal and bone; neither is needed
AIR_HU = -1000
TISSUE_HU = -700  # a nodule ends where the density falls below this
CONTEXT = 3  # slices on each side of the one that is segmented
CROP = (32, 48, 48)  # index, row, col: about 40 x 35 x 35 mm around a candidate


def clipped(hu: Array) -> Array:
    """The scan as float32, clipped to [-1000, 1000] HU; any shape."""
    return np.clip(hu, *HU_RANGE).astype(np.float32)


def context_slices(hu: Array, index: int, context: int = CONTEXT) -> Array:
    """A slice with its neighbours, (2 context + 1, row, col); beyond the scan's ends the last slice is repeated."""
    return hu[np.clip(np.arange(index - context, index + context + 1), 0, len(hu) - 1)]


def crop(hu: Array, centre_irc: Sequence[float] | Array, shape: tuple[int, ...] = CROP) -> Array:
    """A box of this shape around a voxel, shifted inside at the border; where the scan is too small air is added."""
    short = [max(0, want - have) for want, have in zip(shape, hu.shape, strict=True)]
    if any(short):
        hu = np.pad(hu, [(0, gap) for gap in short], constant_values=AIR_HU)
    start = np.round(np.asarray(centre_irc) - np.asarray(shape) / 2).astype(int)
    start = np.clip(start, 0, np.asarray(hu.shape) - shape)
    return hu[tuple(slice(low, low + size) for low, size in zip(start, shape, strict=True))]


def nodule_mask(hu: Array, centres_irc: Array) -> Array:
    """The annotated nodules, (index, row, col) uint8: dense voxels of each nodule's box."""
    mask = np.zeros(hu.shape, np.uint8)
    for centre in np.asarray(centres_irc, int).reshape(-1, 3):
        box = nodule_box(hu, centre)
        mask[box] |= hu[box] > TISSUE_HU
    return mask


def nodule_box(hu: Array, centre_irc: Array) -> tuple[slice, ...]:
    """The box of one nodule, grown along each axis from its centre until either side is no longer dense."""
    reaches = [_reach(_line(hu, centre_irc, axis), int(centre_irc[axis])) for axis in range(3)]
    return tuple(slice(max(0, middle - r), middle + r + 1) for middle, r in zip(centre_irc, reaches, strict=True))


def _line(hu: Array, centre: Array, axis: int) -> Array:
    return hu[tuple(slice(None) if other == axis else centre[other] for other in range(3))]


def _reach(line: Array, middle: int) -> int:
    """The first distance, two at least as in the reference, at which one side has left the nodule or the scan."""
    reach = 2
    limit = min(middle, len(line) - 1 - middle)
    while reach <= limit and min(line[middle - reach], line[middle + reach]) > TISSUE_HU:
        reach += 1
    return reach
