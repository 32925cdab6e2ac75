"""Made-up pictures with masks of values: round cells and long fibres on stained tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy
from PIL import Image

from medseg.data.phantom import ellipsoid, grid_mm, paint
from medseg.task import Array

SHAPE = (160, 224)
NAMES = ("cell", "fibre")
TISSUE, CELL, FIBRE = (222, 190, 210), (96, 60, 140), (190, 90, 110)  # RGB
EDGE = 2.0  # pixels


def phantom(directory: Path, patients: int, seed: int) -> None:
    """Write made-up pictures to `images`, their masks to `masks`, and `classes.txt`.

    The same seed gives the same bytes.
    """
    for folder in ("images", "masks"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    (directory / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    for number in range(patients):
        image, mask = _picture(np.random.default_rng((seed, number)))
        Image.fromarray(image).save(directory / "images" / f"{number:04}.png")
        Image.fromarray(mask).save(directory / "masks" / f"{number:04}.png")


def _picture(rng: np.random.Generator) -> tuple[Array, Array]:
    """A picture (row, col, 3) uint8 and its mask (row, col) uint8: 1 cells, 2 fibres."""
    grid = grid_mm(SHAPE, (1, 1))
    half = np.array(SHAPE) / 2
    places = rng.uniform(-half, half, (9, 2))
    cells = np.min([ellipsoid(grid, place, rng.uniform(9, 18, 2)) for place in places[:6]], 0)
    fibres = np.min([ellipsoid(grid, place, rng.uniform((5, 45), (8, 70))) for place in places[6:]], 0)
    texture = scipy.ndimage.gaussian_filter(rng.normal(size=SHAPE), 3) * 3
    image = np.zeros((*SHAPE, 3), np.float32)
    for channel in range(3):
        layer = image[..., channel]
        layer += TISSUE[channel] + 20 * texture
        paint(layer, fibres, FIBRE[channel], EDGE)
        paint(layer, cells, CELL[channel], EDGE)
    mask = np.where(cells < 0, 1, np.where(fibres < 0, 2, 0)).astype(np.uint8)
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8), mask
