"""AI CUP 2022's STAS pictures and LabelMe files as cases and as samples; every picture counts as a patient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.encoded import RGB, check, decode, encoded_tensor
from medseg.data.grid import NEAREST, resized
from medseg.data.image import read_bytes
from medseg.data.labelme import mask_of, read_labelme
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, drawn
from medseg.task import Array, Case, Tensors
from medseg.tasks.stas.networks import NETWORKS
from medseg.tasks.stas.pipeline import SIZE, prepare


def root(directory: Path) -> Path:
    """The folder of `Train_Images` and `Train_Annotations`: `SEG_Train_Datasets` in the given one, or that itself."""
    inner = directory / "SEG_Train_Datasets"
    return inner if inner.is_dir() else directory


def picture_path(directory: Path, patient: str) -> Path:
    """Where a picture lies; it may be missing where its annotation embeds it."""
    return root(directory) / "Train_Images" / f"{patient}.jpg"


def annotation_path(directory: Path, patient: str) -> Path:
    """Where a picture's annotation lies; it is missing for a picture without truth."""
    return root(directory) / "Train_Annotations" / f"{patient}.json"


def patients(directory: Path) -> Sequence[str]:
    """The names of all pictures and annotations, sorted."""
    pictures = root(directory).glob("Train_Images/*.jpg")
    return sorted({path.stem for path in (*pictures, *root(directory).glob("Train_Annotations/*.json"))})


def read(directory: Path, patient: str) -> Sequence[Case]:
    """One picture as the only case: (row, col, 3) uint8 RGB, mask (row, col) uint8, None where there is no annotation.

    Raises InputError naming a file that is missing, unreadable, or an annotation of a picture of another size.
    """
    picture = decode(picture_bytes(directory, patient), RGB, str(picture_path(directory, patient)))
    path = annotation_path(directory, patient)
    mask = mask_of(read_labelme(path), picture.shape[:2]) if path.is_file() else None
    return [Case(patient, picture, mask)]


def questions(directory: Path, patient: str) -> list[Tensors]:
    """What the pipeline is asked for the patient's case."""
    return [{"encoded": encoded_tensor([picture_bytes(directory, patient)])}]


def picture_bytes(directory: Path, patient: str) -> bytes:
    """A picture's file, or the one its annotation embeds. Raises InputError where there is no picture."""
    path, annotation = picture_path(directory, patient), annotation_path(directory, patient)
    embedded = None if path.is_file() or not annotation.is_file() else read_labelme(annotation).image
    content = embedded if embedded is not None else read_bytes(path)
    check(content, RGB, str(annotation if embedded is not None else path))
    return content


def samples(directory: Path, patients: Sequence[str]) -> Samples:
    """The annotated pictures: (3, 800, 800) float32 and (1, 800, 800) uint8, read when asked for."""
    annotated = tuple(patient for patient in patients if annotation_path(directory, patient).is_file())
    drawn = [read_labelme(annotation_path(directory, patient)) for patient in annotated]
    area = [np.count_nonzero(mask_of(one, one.size)) if one.size else len(one.shapes) for one in drawn]
    load, encoded = partial(_sample, directory, annotated), partial(_encoded, directory, annotated)
    return Samples(load, annotated, np.array(area, float), encoded)


SAMPLES = {network.name: samples for network in NETWORKS}


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """One of four parts of the pictures, drawn with the seed, validates."""
    return drawn(patients(directory), 4, fold, seed)


def _sample(directory: Path, annotated: Sequence[str], index: int) -> Sample:
    (case,) = read(directory, annotated[index])
    mask: Array = np.asarray(case.mask)
    return prepare(case.image), resized(mask[np.newaxis], SIZE, NEAREST)


def _encoded(directory: Path, annotated: Sequence[str], index: int) -> tuple[bytes, Array]:
    content = picture_bytes(directory, annotated[index])
    annotation = read_labelme(annotation_path(directory, annotated[index]))
    return content, mask_of(annotation, check(content, RGB))[np.newaxis]
