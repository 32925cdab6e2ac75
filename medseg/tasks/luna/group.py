"""Stage 2: the mask's connected pieces as nodule candidates, with their centres and diameters."""

from __future__ import annotations

import cc3d
import numpy as np

from medseg.task import Array
from medseg.tasks.luna.crops import AIR_HU, clipped

_STEPS = np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])


def group(ct: Array, mask: Array) -> tuple[Array, Array]:
    """Centres (n, 3) float64 index, row, col and sizes (n,) int64 in voxels of the candidates in a mask.

    One erosion, 6-connected pieces, centres of mass weighted by HU + 1001, as the reference. A candidate's size counts
    its piece with the layer that the erosion took off.
    """
    eroded = _erode(mask)
    labels = cc3d.connected_components(eroded, connectivity=6)
    voxels = np.nonzero(labels)
    piece = labels[voxels].astype(np.int64) - 1
    count = int(piece.max()) + 1 if len(piece) else 0
    weight = clipped(ct[voxels]).astype(np.float64) - AIR_HU + 1
    total = np.bincount(piece, weight, count)
    centres = np.stack([np.bincount(piece, weight * axis, count) / total for axis in voxels], 1)
    return centres, _sizes(piece, np.stack(voxels, 1), mask.shape)


def _erode(mask: Array) -> Array:
    """Voxels whose six neighbours are all set; beyond the volume nothing is set, as in scipy.ndimage.binary_erosion."""
    eroded = np.zeros_like(mask)
    inner = eroded[1:-1, 1:-1, 1:-1]
    inner[:] = mask[1:-1, 1:-1, 1:-1]
    for axis in range(3):
        for side in (slice(None, -2), slice(2, None)):
            window = [slice(1, -1)] * 3
            window[axis] = side
            inner &= mask[tuple(window)]
    return eroded


def _sizes(piece: Array, voxels: Array, shape: tuple[int, ...]) -> Array:
    """Voxels of each piece together with their six neighbours, each counted once."""
    around = (voxels[:, None] + _STEPS).reshape(-1, 3)
    place = np.ravel_multi_index(tuple(around.T), shape)
    owner = np.repeat(piece, len(_STEPS))
    pairs = np.unique(owner * int(np.prod(shape)) + place)
    return np.bincount(pairs // int(np.prod(shape)), minlength=int(piece.max()) + 1 if len(piece) else 0)
