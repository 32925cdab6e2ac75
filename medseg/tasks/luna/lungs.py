"""The region of the lungs with a margin: where a clinic looks for lung nodules."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import scipy

from medseg.errors import InputError
from medseg.task import Array, Geometry

_GRID_MM = 5.0  # the region is found on a coarse grid: its margin is wider than a grid cell
_AIR_HU = -500  # between lung (-850) and soft tissue (0)
_SMALLEST_LITRES = 0.1  # smaller pockets of air are bowel gas or noise
_CLOSING_MM = 15.0  # nodules and vessels at the pleura belong to the region
_MARGIN_MM = 10.0
_MOST_CELLS = 1 << 26  # with the margin around; a patient of 2 x 0.8 x 0.8 m in cells of 3.4 mm has half of them


@dataclass(frozen=True)
class Region:
    """A coarse mask; voxel (i, r, c) of the CT lies in cell (i // steps[0], r // steps[1], c // steps[2])."""

    cells: Array  # bool
    steps: tuple[int, int, int]

    def voxels(self, shape: tuple[int, ...]) -> Array:
        """The region on the CT's own grid (index, row, col) bool."""
        fine = self.cells
        for axis, step in enumerate(self.steps):
            fine = np.repeat(fine, step, axis)
        return np.ascontiguousarray(fine[: shape[0], : shape[1], : shape[2]])


def lungs(ct: Array, geometry: Geometry) -> Region:
    """The lungs of a CT (index, row, col) int16 HU, closed and grown by 10 mm.

    Air that does not reach the sides of the picture, in pieces of at least 0.1 l. Raises InputError without any.
    """
    spacing = np.array(geometry.spacing_mm[::-1])
    steps = _whole_steps(_GRID_MM / spacing)
    cell_mm = spacing * steps
    wide = int(np.ceil((_CLOSING_MM + _MARGIN_MM) / cell_mm.min())) + 1
    _check_cells(ct.shape, spacing, -(-np.array(ct.shape) // steps) + 2 * wide)
    # A cell is the first voxel of its block: noise is far below the step from lung to tissue.
    inner = _without_sides(ct[:: steps[0], :: steps[1], :: steps[2]] < _AIR_HU)
    pieces, sizes = _pieces(inner)
    large = np.flatnonzero(sizes * cell_mm.prod() / 1e6 >= _SMALLEST_LITRES)
    if len(large) == 0:
        raise InputError(f"no lungs found in the CT of shape {ct.shape}; expected a chest CT in HU: use --roi all")
    cells = np.pad(np.isin(pieces, large), wide)
    near = scipy.ndimage.distance_transform_edt(~cells, sampling=cell_mm) <= _CLOSING_MM + _MARGIN_MM
    grown = scipy.ndimage.distance_transform_edt(near, sampling=cell_mm) > _CLOSING_MM
    return Region(grown[wide:-wide, wide:-wide, wide:-wide], steps)


def _check_cells(shape: tuple[int, ...], spacing: Array, cells: Array) -> None:
    """Raise InputError where the coarse grid (index, row, col) would be too large, because the spacing is too large."""
    if np.prod(cells) > _MOST_CELLS:
        extent = " x ".join(f"{mm / 1000:.1f}" for mm in shape * spacing)
        raise InputError(f"the CT spans {extent} m; expected a patient: its spacing is wrong, or use --roi all")


def _whole_steps(steps: Array) -> tuple[int, int, int]:
    index, row, col = np.maximum(1, np.round(steps)).astype(int).tolist()
    return index, row, col


def _without_sides(air: Array) -> Array:
    """Air that is not joined, slice by slice, to the picture's edge: the room around the patient is left out."""
    kept = np.zeros_like(air)
    for plane, out in zip(air, kept, strict=True):
        labels, count = scipy.ndimage.label(plane)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        inside = np.setdiff1d(np.arange(1, count + 1), edge)
        out[:] = np.isin(labels, inside)
    return kept


def _pieces(mask: Array) -> tuple[Array, Array]:
    """Connected pieces (labels from 1) and their sizes in cells; the background's size is given as 0."""
    labels = cc3d.connected_components(mask, connectivity=6)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels, sizes
