"""Reads `kaggle_3m`, the LGG collection's files, as cases and as samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.cache import build, cache_folder, fingerprint
from medseg.data.encoded import RGB, Kind, encoded_tensor, orientation_of
from medseg.data.image import GREY8, read_bytes, read_image
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, drawn, named
from medseg.errors import InputError
from medseg.task import Array, Case, Tensors, Unread
from medseg.tasks.brain_lgg.prepare import SIZE, prepare, prepare_mask
from medseg.tasks.brain_lgg.slices import is_patient, mask_path, root, volume_paths

AS_SHOWN = "as shown"  # in the names of cached slices: earlier ones were made from pictures as they are stored
VALIDATION = (  # the reference's validation patients
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


def patients(directory: Path) -> Sequence[str]:
    """The names of the patients' folders, sorted."""
    return sorted(path.name for path in root(directory).glob("*_*") if is_patient(path))


def read(directory: Path, patient: str) -> Sequence[Case]:
    """One patient's volume as the only case: (slices, row, col, 3) uint8, mask (slices, row, col) uint8 0/1.

    The channels are pre-contrast, FLAIR and post-contrast; the collection's slices have 256 x 256 pixels. The files do
    not state the distance between slices. Raises InputError, with the file's name, where a file is missing, unreadable,
    another patient's, or not of the volume's size.
    """
    paths = volume_paths(root(directory) / patient)
    for path in paths:
        _check_turns(path, mask_path(path))
    image, mask = _stack(paths, RGB), _stack([mask_path(path) for path in paths], GREY8)
    first, values = mask_path(paths[0]), np.unique(mask)
    if mask.shape != image.shape[:3]:
        raise InputError(
            f"{first}: is {mask.shape[1:]} pixels; expected {image.shape[1:3]} like its picture: replace the file"
        )
    if len(values) > 2 or (len(values) == 2 and values[0] > 0):
        raise InputError(
            f"{first.parent}: its masks hold {len(values)} values, {values[:4].tolist()} and so on; expected 0 and one "
            "other: save them without labels or smooth edges"
        )
    return [Case(patient, image, (mask > 0).astype(np.uint8))]


def cases(directory: Path, patient: str) -> list[Unread]:
    """The patient's only case, not read yet."""
    paths = tuple(volume_paths(root(directory) / patient))
    return [Unread(patient, partial(_asked, paths), paths, patient, known=True)]


def _asked(paths: Sequence[Path]) -> Tensors:
    return {"encoded": encoded_tensor([read_bytes(path) for path in paths])}


def samples(directory: Path, patients: Sequence[str]) -> Samples:
    """The prepared slices of these patients: (3, 256, 256) float32, mask (1, 256, 256) uint8; cached on disk."""
    shelf = {patient: _shelf(directory, patient) for patient in patients}
    build(prepared, {path: (directory, patient) for patient, path in shelf.items()}, "preparing volumes")
    volumes = {patient: np.load(path, mmap_mode="r") for patient, path in shelf.items()}
    places = [(patient, index) for patient, volume in volumes.items() for index in range(len(volume))]
    foreground = [np.count_nonzero(volumes[patient][index, -1]) for patient, index in places]
    load = partial(_sample, tuple((shelf[patient], index) for patient, index in places))
    return Samples(load, tuple(patient for patient, _ in places), np.array(foreground, float))


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """In fold 0, the reference's ten patients validate if the folder has any of them; else one of ten drawn parts."""
    names = patients(directory)
    if fold == 0 and set(names) & set(VALIDATION):
        return named(names, VALIDATION, "the reference")
    return drawn(names, 10, fold, seed)


def prepared(directory: Path, patient: str) -> Array:
    """A patient's slices (n, 4, 256, 256) float32 as the network sees them; the last channel is the mask."""
    (case,) = read(directory, patient)
    image, frame = prepare(case.image)
    mask = prepare_mask(np.asarray(case.mask), frame)
    return np.concatenate([image, mask[:, np.newaxis]], axis=1, dtype=np.float32)


def _shelf(directory: Path, patient: str) -> Path:
    """The path of a patient's prepared slices in the cache."""
    folder = root(directory) / patient
    volume_paths(folder)
    return cache_folder() / "brain-lgg" / f"{patient}-{fingerprint(folder, SIZE, AS_SHOWN)}.npy"


def _sample(places: Sequence[tuple[Path, int]], index: int) -> Sample:
    path, place = places[index]
    layers = np.load(path, mmap_mode="r")[place]
    return np.array(layers[:-1]), layers[-1:].astype(np.uint8)


def _check_turns(path: Path, mask: Path) -> None:
    """Raise InputError where a picture and its mask have different EXIF orientations."""
    turned = orientation_of(read_bytes(path), RGB, str(path)), orientation_of(read_bytes(mask), GREY8, str(mask))
    if turned[0] != turned[1]:
        raise InputError(
            f"{mask}: has the orientation {turned[1]}, but its picture {turned[0]}, so it may not fit the displayed "
            "picture; expected the same for both: save both as displayed, without an orientation"
        )


def _stack(paths: Sequence[Path], kind: Kind) -> Array:
    pictures = [read_image(path, kind) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            expected = pictures[0].shape
            raise InputError(
                f"{path}: is {picture.shape} pixels; expected {expected} like {paths[0]}: replace the file"
            )
    return np.stack(pictures)
