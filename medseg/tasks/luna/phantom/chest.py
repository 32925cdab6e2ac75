"""A made-up chest whose lungs are still empty: skin, fat, muscle, bones, heart and great vessels, in HU.

Places are in mm from the middle of the scan and in array order: z towards the head, y towards the back, x towards the
patient's left. The chest is drawn for a scan of one size; each patient's is that one, stretched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from medseg.data.phantom import paint
from medseg.task import Array
from medseg.tasks.luna.phantom.bones import paint_bones
from medseg.tasks.luna.phantom.organs import diaphragm, mediastinum, paint_airways, paint_belly, paint_organs
from medseg.tasks.luna.phantom.shapes import EDGE_MM, Axes, axes_mm, oval

HALF_MM = np.array([60.0, 115.0, 115.0])  # half of the scan that the chest is drawn for
# Where vessels enter the lungs: an artery and a vein for each.
ROOTS = ((8.0, 0.0, -28.0), (-8.0, 8.0, -26.0), (9.0, 2.0, 30.0), (-8.0, 8.0, 28.0))
AIR, LUNG, FAT, MUSCLE, SKIN = -1000, -865, -105, 50, 15
COUCH, FOAM = -350, -940
SKIN_MM = 1.6


@dataclass(frozen=True)
class Chest:
    """One chest on its scan's grid."""

    hu: Array  # (index, row, col) float32, to be drawn into
    lungs: Array  # the distance to the lungs' surface in mm, negative inside; (index, row, col) float32
    axes: Axes  # of its voxels, in mm
    stretch: Array  # (3,): how much longer than drawn

    def depth(self, places_mm: Array) -> Array:
        """How deep in the lungs these places (n, 3) lie, in mm, negative outside: (n,)."""
        voxels = tuple(
            np.clip(np.searchsorted(axis.ravel(), places_mm[:, number]), 0, axis.size - 1)
            for number, axis in enumerate(self.axes)
        )
        return -self.lungs[voxels]


def chest(rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Chest:
    """A chest that is like no other."""
    stretch = np.asarray(shape) * spacing_mm / 2 / HALF_MM * rng.uniform(0.96, 1.02, 3)
    axes = axes_mm(shape, tuple(spacing_mm / stretch))
    z, y, x = axes
    body = oval(y + rng.normal(0, 2), x, 76, 101) + 1.5 * np.sin(3 * np.arctan2(y, x) + rng.uniform(0, 6))
    narrow = 1 - 0.24 * np.clip((z + 5) / 65, 0, 1) ** 2
    cavity = oval((y + 4) / narrow, x / narrow, 57, 84) * narrow
    dome = diaphragm(axes, rng.uniform(-4, 4))
    lungs = np.maximum(np.maximum(cavity + 2, dome), -mediastinum(axes))
    waves = _waves(rng, shape, (3, 4, 4))
    hu = np.repeat(_skin_and_couch(body, y, x), shape[0], 0)
    _paint_muscle(hu, np.maximum(body + rng.uniform(7, 10) + 1.5 * waves, -cavity), waves)
    paint(hu, cavity, FAT, EDGE_MM)
    paint_belly(hu, axes, np.maximum(cavity + 2, -dome))
    paint_organs(hu, axes, dome)
    hu += np.clip(0.5 - lungs / EDGE_MM, 0, 1) * (LUNG + 0.35 * y + 22 * waves - hu)  # denser where it hangs down
    paint_airways(hu, axes)
    paint_bones(hu, axes, cavity, rng.uniform(0, 19))
    return Chest(hu, lungs * float(stretch.min()), axes_mm(shape, spacing_mm), stretch)


def _skin_and_couch(body: Array, y: Array, x: Array) -> Array:
    """Every slice before the body is filled, (1, row, col): fat in its skin, and a couch of foam in a thin shell."""
    hu = np.full(body.shape, AIR, np.float32)
    below = y - 80 + (x / 60) ** 2 * 3
    foam = np.maximum(below - 14, -below)
    paint(hu, foam, FOAM, EDGE_MM)
    paint(hu, np.abs(foam) - 0.8, COUCH, EDGE_MM)
    paint(hu, body, SKIN, EDGE_MM)
    paint(hu, body + SKIN_MM, FAT, EDGE_MM)
    return hu


def _paint_muscle(hu: Array, muscle: Array, waves: Array) -> None:
    """Paint muscle (a distance), and the fat between muscles where the waves are high."""
    paint(hu, muscle, MUSCLE, EDGE_MM)
    hu += np.clip(waves - 1.1, 0, 0.8) * (muscle < -2) * (FAT - hu)


def _waves(rng: np.random.Generator, shape: tuple[int, ...], steps: tuple[int, ...]) -> Array:
    """A smooth random field of about -2 to 2, whose waves are as long as `steps` voxels."""
    field = rng.standard_normal([-(-n // step) for n, step in zip(shape, steps, strict=True)], np.float32)
    for axis, step in enumerate(steps):
        field = np.repeat(field, step, axis)
    return scipy.ndimage.uniform_filter(field[tuple(map(slice, shape))], steps)
