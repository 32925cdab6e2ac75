"""Made-up brain MR volumes in `kaggle_3m`'s layout, each with a tumour that only FLAIR shows clearly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medseg.data.phantom import ellipsoid, grid_mm, paint
from medseg.task import Array
from medseg.tasks.brain_lgg.reader import VALIDATION

SHAPE = (20, 256, 256)
SPACING_MM = (6.0, 0.9, 0.9)
EDGE_MM = 2.0
# Brightness by sequence: pre-contrast, FLAIR, post-contrast.
SKIN, BRAIN, FLUID, TUMOUR = (150, 120, 160), (95, 80, 100), (35, 20, 40), (80, 190, 110)
NOISE = 6


def phantom(directory: Path, patients: int, seed: int) -> None:
    """Write made-up patients to `directory/kaggle_3m`; every fifth has the name of a validation patient.

    The same seed gives the same bytes.
    """
    for number in range(patients):
        rng = np.random.default_rng((seed, number))
        image, mask = _volume(rng)
        name = _name(number)
        folder = directory / "kaggle_3m" / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(len(image)):
            Image.fromarray(image[index]).save(folder / f"{name}_{index + 1}.tif")
            Image.fromarray(mask[index] * np.uint8(255)).save(folder / f"{name}_{index + 1}_mask.tif")


def _name(number: int) -> str:
    turn, rest = divmod(number, 5)
    if rest == 1 and turn < len(VALIDATION):
        return VALIDATION[turn]
    return f"TCGA_PH_{number:04}_20000101"


def _volume(rng: np.random.Generator) -> tuple[Array, Array]:
    """A volume (slice, row, col, 3) uint8 and its tumour's mask (slice, row, col) uint8."""
    grid = grid_mm(SHAPE, SPACING_MM)
    head = rng.uniform((62, 95, 72), (70, 105, 80))
    side = rng.choice((-1, 1))
    centre = rng.uniform((-25, -45, 18), (25, 40, 38)) * (1, 1, side)
    tumour = ellipsoid(grid, centre, rng.uniform((12, 10, 10), (22, 24, 20)))
    fluid = [ellipsoid(grid, np.array([5.0, 0.0, x]), np.array([18, 26, 6])) for x in (-10.0, 10.0)]
    image = np.zeros((*SHAPE, 3), np.float32)
    for channel in range(3):
        layer = image[..., channel]
        paint(layer, ellipsoid(grid, np.zeros(3), head), SKIN[channel], EDGE_MM)
        paint(layer, ellipsoid(grid, np.zeros(3), head - 8), BRAIN[channel], EDGE_MM)
        paint(layer, np.min(fluid, 0), FLUID[channel], EDGE_MM)
        paint(layer, tumour, TUMOUR[channel], EDGE_MM)
    inside = image.max(-1, keepdims=True) > 1  # the collection's background is black
    noisy = image + inside * rng.normal(0, NOISE, image.shape)
    return noisy.clip(0, 255).astype(np.uint8), (tumour < 0).astype(np.uint8)
