"""Made-up MR scans of the abdomen in the UW-Madison collection's layout, with run-length masks of three organs."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np

from medseg.data import rle
from medseg.data.grid import png
from medseg.data.phantom import ellipsoid, grid_mm, paint, tube
from medseg.task import Array
from medseg.tasks.gi_tract.networks import GI_TRACT

SLICES = 12
SLICE_MM = 12.0  # slices are further apart than in a real scan, so that a few of them cover all organs
SIZES = (((266, 266), "1.50"), ((234, 234), "1.50"), ((310, 360), "1.50"), ((276, 276), "1.63"))  # rows and columns, mm
EDGE_MM = 3.0
BODY, NOISE = 160, 12  # brightness; the next line has that of the organs
BRIGHTNESS = {"large_bowel": 420, "small_bowel": 300, "stomach": 560}


def phantom(directory: Path, patients: int, seed: int) -> None:
    """Write made-up cases to `directory/train`, every second one with two days, and `train.csv`.

    The same seed gives the same bytes.
    """
    rows: list[tuple[str, str, str]] = []
    for number in range(patients):
        for day in range(1 + number % 2):
            rng = np.random.default_rng((seed, number, day))
            rows += _write_day(directory, number + 1, day, rng)
    with (directory / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "class", "segmentation"))
        writer.writerows(rows)


def _write_day(directory: Path, case: int, day: int, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    (height, width), pixel_mm = SIZES[case % len(SIZES)]
    grid = grid_mm((SLICES, height, width), (SLICE_MM, float(pixel_mm), float(pixel_mm)))
    organs = _organs(grid, rng)
    image = _image(grid, organs, rng)
    folder = directory / "train" / f"case{case}" / f"case{case}_day{day}" / "scans"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(SLICES):
        name = f"slice_{index + 1:04}"
        (folder / f"{name}_{width}_{height}_{pixel_mm}_{pixel_mm}.png").write_bytes(png(image[index]))
        rows += [
            (f"case{case}_day{day}_{name}", organ, rle.encode(organs[organ][index] < 0)) for organ in GI_TRACT.classes
        ]
    return rows


def _organs(grid: Array, rng: np.random.Generator) -> dict[str, Array]:
    """The distance in mm to each organ, negative inside, (slice, row, col); the outermost slices hold no organ."""
    shift = rng.uniform(-8, 8, 3)
    stomach = ellipsoid(grid, np.array((-15, -35, 40)) + shift, rng.uniform((28, 20, 24), (34, 26, 32)))
    corners = [np.array(corner) + shift for corner in ((-30, 45, -75), (-20, -30, -80), (5, -40, 5), (10, 40, 75))]
    bowel = [tube(grid, start, end, 12) for start, end in pairwise(corners)]
    loops = [rng.uniform((-20, 5, -45), (30, 50, 45)) + shift for _ in range(5)]
    small = [tube(grid, start, end, 9) for start, end in pairwise(loops)]
    return {"large_bowel": np.min(bowel, 0), "small_bowel": np.min(small, 0), "stomach": stomach}


def _image(grid: Array, organs: dict[str, Array], rng: np.random.Generator) -> Array:
    """The scan (slice, row, col) uint16; it is brighter near the coil, like real MR."""
    image = np.zeros(grid.shape[1:], np.float32)
    paint(image, ellipsoid(grid, np.zeros(3), np.array([np.inf, 110, 155])), BODY, EDGE_MM)
    for name, distance in organs.items():
        paint(image, distance, BRIGHTNESS[name], EDGE_MM)
    image *= 1 + 0.2 * grid[1] / 150
    return np.abs(image + rng.normal(0, NOISE, image.shape)).astype(np.uint16)
