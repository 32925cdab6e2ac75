"""Which voxels belong to which candidate or nodule, as runs of a volume's voxels: small, exact, and easily read."""

from __future__ import annotations

import numpy as np

from medseg.data.upright import Orientation
from medseg.errors import InputError
from medseg.task import Array

_MOST_VOXELS = 1 << 28  # of all runs together; a whole CT of 1,024 slices


def runs_of(places: Array, numbers: Array) -> Array:
    """Runs (m, 3) int64 first voxel, length, number, of voxels (n,) by their place in the flattened volume.

    They are sorted by number, then by place.
    """
    if len(places) == 0:
        return np.zeros((0, 3), np.int64)
    order = np.lexsort((places, numbers))
    places, numbers = places[order], numbers[order]
    starts = np.flatnonzero(np.append(True, (np.diff(places) != 1) | (np.diff(numbers) != 0)))
    return np.stack([places[starts], np.diff(np.append(starts, len(places))), numbers[starts]], 1).astype(np.int64)


def voxels_of(runs: Array) -> tuple[Array, Array]:
    """The places (n,) in the flattened volume and the numbers (n,) of all voxels in runs."""
    lengths = runs[:, 1]
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(runs[:, 0] - before, lengths), np.repeat(runs[:, 2], lengths)


def stored(places: Array, shape: tuple[int, ...], turn: Orientation) -> Array:
    """Places (n,) in the flattened volume as it is seen, in the stored one of this shape."""
    seen = np.unravel_index(places, tuple(shape[axis] for axis in turn.axes))
    voxels = turn.stored_voxels(np.stack(seen, 1), shape)
    return np.asarray(np.ravel_multi_index(tuple(voxels.T), shape), np.int64)


def nodules_of(pieces: Array, listed: Array) -> Array:
    """The runs of the nodules 1 to n: the pieces of the candidates `listed` (n,), each voxel in one nodule alone.

    Pieces touch where one layer was taken off between them; such voxels belong to the first in the list. Raises
    InputError for candidates' pieces that a client made up.
    """
    number = np.zeros(max(int(pieces[:, 2].max(initial=-1)), int(listed.max(initial=-1))) + 1, np.int64)
    number[listed] = np.arange(1, len(listed) + 1)
    mine = pieces[number[pieces[:, 2]] > 0]
    if mine[:, 1].sum() > _MOST_VOXELS:
        raise InputError(f"tensor 'pieces' holds {mine[:, 1].sum()} voxels; expected at most {_MOST_VOXELS}")
    places, numbers = voxels_of(np.stack([mine[:, 0], mine[:, 1], number[mine[:, 2]]], 1))
    order = np.lexsort((numbers, places))
    places, numbers = places[order], numbers[order]
    first = np.append(True, np.diff(places) != 0)[: len(places)]
    return runs_of(places[first], numbers[first])


def labels(runs: Array, shape: tuple[int, ...]) -> Array:
    """The volume (index, row, col) of runs: 0, and each voxel's number; uint8, or uint16 from 256 numbers on."""
    places, numbers = voxels_of(runs)
    volume = np.zeros(int(np.prod(shape)), np.min_scalar_type(int(numbers.max(initial=0))))
    volume[places] = numbers
    return volume.reshape(shape)
