"""The preparation of a brain volume as in the reference: crop, pad to a square, resize, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial, reduce

import numpy as np
import scipy

from medseg.task import Array

SIZE = 256
DARK = 0.1  # values below this share of the volume's brightest value are background
PERCENTILES = (10, 99)


@dataclass(frozen=True)
class Frame:
    """Where a prepared volume lies in its original. All numbers are in slices or pixels of the original."""

    shape: tuple[int, ...]  # slices, rows, columns of the original
    brain: tuple[slice, slice, slice]  # the brain's box in the original
    before: tuple[int, int, int]  # padding before the brain
    side: int  # of the padded square


def prepare(volume: Array, size: int = SIZE) -> tuple[Array, Frame]:
    """The network's input (slices in the brain, 3, size, size) float32 and its frame, from (slices, h, w, 3) uint8.

    It equals the reference's with scikit-image to 3e-7, except that the first and last slice are kept.
    """
    visible = np.where(volume < volume.max() * DARK, 0, volume)
    frame = _frame(visible)
    planes = np.ascontiguousarray(_square(visible, frame).transpose(0, 3, 1, 2)) / 255
    return _normalised(_zoomed(planes, size)), frame


def prepare_mask(mask: Array, frame: Frame, size: int = SIZE) -> Array:
    """The mask (slices, rows, columns) on the prepared grid, (slices in the brain, size, size), by nearest pixels."""
    square = _square(mask, frame)
    zoom = partial(scipy.ndimage.zoom, zoom=size / frame.side, order=0, mode="grid-constant", grid_mode=True)
    return square if frame.side == size else np.stack([zoom(plane) for plane in square])


def _frame(visible: Array) -> Frame:
    """The brain's box in a volume whose background is 0; the whole volume where nothing is visible."""
    boxes = scipy.ndimage.find_objects((reduce(np.maximum, np.moveaxis(visible, -1, 0)) > 0).astype(np.uint8))
    z, y, x = boxes[0] if boxes else (slice(0, size) for size in visible.shape[:3])
    rows, columns = y.stop - y.start, x.stop - x.start
    side = max(rows, columns)
    return Frame(visible.shape[:3], (z, y, x), (0, (side - rows) // 2, (side - columns) // 2), side)


def _square(volume: Array, frame: Frame) -> Array:
    brain = volume[frame.brain]
    square = np.zeros((len(brain), frame.side, frame.side, *brain.shape[3:]), volume.dtype)
    _, top, left = frame.before
    square[:, top : top + brain.shape[1], left : left + brain.shape[2]] = brain
    return square


def _zoomed(planes: Array, size: int) -> Array:
    """Planes (slices, channels, side, side) float64 resized by quadratic splines and clipped to their own range."""
    side = planes.shape[-1]
    if side == size:
        return planes
    weights = _spline(side, size)
    zoomed = weights @ (planes.reshape(-1, side) @ weights.T).reshape(-1, side, size)
    return np.clip(zoomed, planes.min(), planes.max(), out=zoomed).reshape(*planes.shape[:2], size, size)


@lru_cache(maxsize=32)
def _spline(side: int, size: int) -> Array:
    """SciPy's spline zoom along one axis as a matrix of weights (size, side); this works because zooming is linear."""
    return np.asarray(scipy.ndimage.zoom(np.eye(side), (size / side, 1), order=2, mode="grid-constant", grid_mode=True))


def _normalised(volume: Array) -> Array:
    """The volume scaled from its 10th and 99th percentile to 0 and 1, then each channel to mean 0 and variance 1."""
    low, high = np.percentile(volume, PERCENTILES)
    scaled = volume - low
    scaled /= max(high - low, 1e-6)
    np.clip(scaled, 0, 1, out=scaled)
    scaled -= scaled.mean(axis=(0, 2, 3), keepdims=True)
    spread = np.sqrt(np.square(scaled).mean(axis=(0, 2, 3), keepdims=True))
    return (scaled / np.maximum(spread, 1e-6)).astype(np.float32)
