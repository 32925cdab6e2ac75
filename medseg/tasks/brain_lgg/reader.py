"""`kaggle_3m`, the LGG collection's files, as cases and as samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.encoded import RGB, Kind, encoded_tensor
from medseg.data.image import GREY8, read_bytes, read_image
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, drawn, named
from medseg.errors import InputError
from medseg.task import Array, Case, Tensors
from medseg.tasks.brain_lgg.prepare import prepare, prepare_mask

VALIDATION = (  # the patients that validate in the reference
    "TCGA_CS_4944_20010208",
    "TCGA_CS_6667_20011105",
    "TCGA_CS_6668_20011025",
    "TCGA_DU_5851_19950428",
    "TCGA_DU_6404_19850629",
    "TCGA_DU_6408_19860521",
    "TCGA_DU_7014_19860618",
    "TCGA_HT_7616_19940813",
    "TCGA_HT_7692_19960724",
    "TCGA_HT_7879_19981009",
)


def root(directory: Path) -> Path:
    """The folder that holds the patients: `kaggle_3m` in the given folder, or that folder itself."""
    return directory / "kaggle_3m" if (directory / "kaggle_3m").is_dir() else directory


def patients(directory: Path) -> Sequence[str]:
    """The names of the patients' folders, sorted."""
    return sorted(path.name for path in root(directory).glob("*_*") if slice_paths(path))


def slice_paths(folder: Path) -> list[Path]:
    """A patient's pictures `PATIENT_N.tif` in the order of N."""
    numbered = {path: re.fullmatch(rf"{re.escape(folder.name)}_(\d+)\.tif", path.name) for path in folder.glob("*.tif")}
    return sorted((path for path, match in numbered.items() if match), key=lambda path: int(path.stem.split("_")[-1]))


def mask_path(path: Path) -> Path:
    """The mask beside a picture."""
    return path.with_name(f"{path.stem}_mask.tif")


def read(directory: Path, patient: str) -> Sequence[Case]:
    """One patient's volume as the only case: (slices, 256, 256, 3) uint8, mask (slices, 256, 256) uint8.

    The channels are pre-contrast, FLAIR and post-contrast. The files do not say how far apart slices lie.
    Raises InputError naming a file that is missing, unreadable or not of the volume's size.
    """
    paths = slice_paths(root(directory) / patient)
    if not paths:
        raise InputError(
            f"{root(directory) / patient}: no {patient}_N.tif; expected kaggle_3m's layout: check the folder"
        )
    image = _stack(paths, RGB)
    mask = _stack([mask_path(path) for path in paths], GREY8)
    return [Case(patient, image, (mask > 0).astype(np.uint8))]


def questions(directory: Path, patient: str) -> list[Tensors]:
    """What the pipeline is asked for the patient's case."""
    return [{"encoded": encoded_tensor([read_bytes(path) for path in slice_paths(root(directory) / patient)])}]


def samples(directory: Path, patients: Sequence[str]) -> Samples:
    """The prepared slices of these patients: (3, 256, 256) float32 and (1, 256, 256) uint8, all held in memory."""
    with ThreadPoolExecutor() as pool:
        volumes = list(pool.map(partial(_prepared, directory), patients))
    images = np.concatenate([image for image, _ in volumes]) if volumes else np.zeros((0, 3, 256, 256), np.float32)
    masks = np.concatenate([mask for _, mask in volumes]) if volumes else np.zeros((0, 256, 256), np.uint8)
    names = tuple(name for name, (image, _) in zip(patients, volumes, strict=True) for _ in image)
    return Samples(partial(_sample, images, masks), names, masks.sum((1, 2), dtype=float))


SAMPLES = {"brain-lgg": samples}


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """The reference's ten patients validate as fold 0; in a folder that has none of them, one of ten drawn parts does."""
    names = patients(directory)
    if fold == 0 and set(names) & set(VALIDATION):
        return named(names, VALIDATION, "the reference")
    return drawn(names, 10, fold, seed)


def _prepared(directory: Path, patient: str) -> tuple[Array, Array]:
    (case,) = read(directory, patient)
    image, frame = prepare(case.image)
    return image, prepare_mask(np.asarray(case.mask), frame)


def _sample(images: Array, masks: Array, index: int) -> Sample:
    return images[index], masks[index, None]


def _stack(paths: Sequence[Path], kind: Kind) -> Array:
    pictures = [read_image(path, kind) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            expected = pictures[0].shape
            raise InputError(
                f"{path}: is {picture.shape} pixels; expected {expected} like {paths[0]}: replace the file"
            )
    return np.stack(pictures)
