"""Made-up volumes as a raw dataset: an ellipsoid of each label in a body, the channels of what is described."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medseg.data.phantom import ellipsoid, grid_mm, paint
from medseg.data.volume import write_mask
from medseg.description import Description
from medseg.files import whole_file
from medseg.task import Array, Geometry
from medseg.tasks.volume.raw import DATASET
from medseg.tasks.volume.statistics import values_of

SHAPE, SPACING_MM = (24, 64, 64), (3.0, 1.5, 1.5)  # slice, row, col
AIR, BODY, STEP, NOISE = -1000.0, 0.0, 60.0, 15.0  # as HU; each label is brighter than the one before
_MOST = 8  # labels of one volume: more have no room


def phantom(description: Description | None, directory: Path, patients: int, seed: int) -> None:
    """Write made-up cases to imagesTs and labelsTs, and dataset.json; the same seed, the same voxels."""
    for folder in ("imagesTs", "labelsTs"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    channels, known = _dataset(description)
    document = {"channel_names": channels, "labels": known, "numTraining": 0, "file_ending": ".nii.gz"}
    with whole_file(directory / DATASET) as temporary:
        temporary.write_text(json.dumps(document, indent=4) + "\n")
    values = _values(description)
    geometry = Geometry(SPACING_MM[::-1])
    for number in range(patients):
        rng = np.random.default_rng((seed, number))
        image, labels = _volume(rng, values)
        write_mask(directory / "labelsTs" / f"case_{number:04}.nii.gz", labels, geometry)
        for channel in range(len(channels)):
            noisy = (image + rng.normal(0, NOISE, SHAPE)).astype(np.float32)
            _write(directory / "imagesTs" / f"case_{number:04}_{channel:04}.nii.gz", noisy, geometry)


def _dataset(description: Description | None) -> tuple[dict[str, str], dict[str, int | list[int]]]:
    """dataset.json's channels and labels."""
    if description is None:
        return {"0": "CT"}, {"background": 0, "organ": 1, "lesion": 2}
    channels = {str(index): channel.name for index, channel in enumerate(description.channels)}
    classes = {one.name: one.value if one.value is not None else list(one.region) for one in description.classes}
    return channels, {"background": 0, **classes}


def _values(description: Description | None) -> list[int]:
    if description is None:
        return [1, 2]
    return sorted({value for one in description.classes for value in values_of(one)})[:_MOST]


def _volume(rng: np.random.Generator, values: list[int]) -> tuple[Array, Array]:
    """An image float32 and its labels uint8, both (slice, row, col)."""
    grid = grid_mm(SHAPE, SPACING_MM)
    half = np.array(SHAPE) * SPACING_MM / 2
    image = np.full(SHAPE, AIR, np.float32)
    paint(image, ellipsoid(grid, np.zeros(3), 0.9 * half), BODY, SPACING_MM[-1])
    labels = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(values, 1):
        distance = ellipsoid(grid, rng.uniform(-0.4, 0.4, 3) * half, rng.uniform(8, 14, 3))
        paint(image, distance, BODY + STEP * number, SPACING_MM[-1])
        labels[distance < 0] = value
    return image, labels


def _write(path: Path, voxels: Array, geometry: Geometry) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(geometry.spacing_mm)
    with whole_file(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
